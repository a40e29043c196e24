//! Runs cargo on this workspace.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::paths;

/// What a static program is built for: the machine's own target, named, so that build scripts
/// and procedural macros are not static, too.
const STATIC_TARGET: &str = "x86_64-unknown-linux-gnu";

/// A call of cargo in the checkout.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(paths::checkout());
    cargo
}

/// A call of `cargo build` that makes static programs. Its products are apart from the others',
/// because other flags would have everything built anew each time.
pub fn cargo_build_static() -> Command {
    let mut cargo = cargo();
    cargo
        .args([
            "build",
            "--release",
            "--target",
            STATIC_TARGET,
            "--target-dir",
        ])
        .arg(static_target())
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        // They go into initramfs archives, which are memory of every guest.
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo
}

fn static_target() -> PathBuf {
    paths::target().join("static")
}

/// Where [`cargo_build_static`] puts programs.
pub fn static_programs() -> PathBuf {
    static_target().join(STATIC_TARGET).join("release")
}

/// Runs `cargo`, whose own output shows.
///
/// # Errors
/// When it fails; it has said why.
pub fn run(cargo: &mut Command) -> Result<()> {
    if !cargo
        .stdin(Stdio::null())
        .status()
        .context("cannot start cargo")?
        .success()
    {
        bail!("the build failed");
    }
    Ok(())
}

/// Runs `cargo`, a build, and returns name and path of the test programs that it made.
///
/// # Errors
/// When it fails; it has said why.
pub fn test_programs(cargo: &mut Command) -> Result<Vec<(String, PathBuf)>> {
    let output = cargo
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the build of the tests failed");
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    Ok(messages.lines().filter_map(test_program).collect())
}

/// A line of cargo's output, if it is about a test program.
fn test_program(line: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(line).ok()?;
    let target = message.get("target")?;
    let is_test = target
        .get("kind")?
        .as_array()?
        .iter()
        .any(|kind| kind == "test");
    let program = message.get("executable")?.as_str()?;
    is_test.then(|| Some((target.get("name")?.as_str()?.to_owned(), program.into())))?
}
