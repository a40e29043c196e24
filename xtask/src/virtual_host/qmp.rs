//! Just enough of QEMU's machine protocol: one command, one answer.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// QEMU answers at once or not at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs `command` with `arguments` on the QEMU that listens at `socket`.
///
/// # Errors
/// When QEMU cannot be reached or refuses.
pub fn execute(socket: &Path, command: &str, arguments: Value) -> Result<Value> {
    let stream = UnixStream::connect(socket).context("cannot reach QEMU")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    lines.next().context("QEMU closed the connection")??; // the greeting
    let mut ask = |name: &str, arguments: Value| -> Result<Value> {
        writeln!(
            &stream,
            "{}",
            json!({"execute": name, "arguments": arguments})
        )?;
        for line in lines.by_ref() {
            let mut answer: Value = serde_json::from_str(&line?)?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU refused {name}: {error}");
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
        bail!("QEMU closed the connection");
    };
    ask("qmp_capabilities", json!({}))?;
    ask(command, arguments)
}

/// Runs a line of QEMU's human monitor, which has what the machine protocol lacks.
///
/// # Errors
/// When QEMU cannot be reached or prints anything, which for the commands used here is a complaint.
pub fn monitor(socket: &Path, line: &str) -> Result<()> {
    match ask_monitor(socket, line)?.trim() {
        "" => Ok(()),
        complaint => bail!("{complaint}"),
    }
}

/// What QEMU's human monitor prints for a line.
///
/// # Errors
/// When QEMU cannot be reached.
pub fn ask_monitor(socket: &Path, line: &str) -> Result<String> {
    let printed = execute(
        socket,
        "human-monitor-command",
        json!({"command-line": line}),
    )?;
    Ok(printed.as_str().unwrap_or_default().to_owned())
}
