//! A bench of the network's programs, which needs no VM: it runs here.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use super::Arguments;
use crate::{products, tools};

/// Namespaces of its own, so that no packet leaves and no process stays, however the bench ends: all that it starts is
/// in a namespace of processes that ends with its first one, and that one is killed with `unshare`, and that with us.
///
/// In SCHED_BATCH, so that who wakes up does not interrupt who runs: client and upstream share a core, and would take
/// turns for each segment that a proxy sends from another core, where without a proxy they take turns for each buffer.
const ALONE: &str = "setpriv --pdeathsig KILL unshare --net --pid --fork --kill-child --mount-proc -- chrt --batch 0";

/// Runs `bench-NAME`, which writes what it measured to `json`.
pub fn run(arguments: &Arguments, json: &Path) -> Result<u8> {
    if !nix::unistd::geteuid().is_root() {
        bail!("this bench makes network namespaces: run it as root");
    }
    tools::ensure(tools::NETWORK)?;
    let rivals = products::rivals()?;
    let program = products::installable(&format!("bench-{}", arguments.name), arguments.no_build)?;
    let mut words = ALONE.split(' ');
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).arg(&program);
    command.arg("--nginx").arg(rivals.nginx);
    command.arg("--mitmdump").arg(rivals.mitmdump);
    command.arg("--json").arg(json).args(&arguments.arguments);
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {}", program.display()))?;
    Ok(u8::from(!status.success()))
}
