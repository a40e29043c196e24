//! Processes beside ours. The namespace of processes that the bench is the first of ends with it, and they do.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::contestants::Contestant;
use crate::load;

/// A running program; it is killed when this is dropped.
#[derive(Debug)]
pub struct Program(Child);

/// mitmproxy has much to read before it listens.
const START: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

/// A command that runs on one core. The process is the program's own.
pub fn on_core(core: Option<usize>, program: impl AsRef<OsStr>) -> Command {
    let mut command = match core {
        None => Command::new(program),
        Some(core) => {
            let mut command = Command::new("taskset");
            command.args(["-c", &core.to_string()]).arg(program);
            command
        }
    };
    command.stdin(Stdio::piped());
    command
}

/// Starts a program that says something when it is ready.
pub fn start(command: &mut Command) -> tests::Result<(Program, String)> {
    let mut child = Program(command.stdout(Stdio::piped()).spawn()?);
    let output = child.0.stdout.take().context("no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    let rest = line.trim_end().strip_prefix("ready");
    let rest = rest.context("a part of the bench did not start")?;
    Ok((child, rest.trim().to_owned()))
}

/// Starts a program that says nothing.
pub fn spawn(command: &mut Command) -> tests::Result<Program> {
    let text = format!("starting {command:?}");
    Ok(Program(command.spawn().context(text)?))
}

/// Waits until a contestant answers as it should.
pub fn until_ready(contestant: Contestant) -> tests::Result<Contestant> {
    let end = Instant::now() + START;
    loop {
        let first = load::run(&contestant, async || {
            load::connections(&contestant, 1).await.map(drop)
        });
        match first {
            Ok(()) => return Ok(contestant),
            Err(error) => ensure!(Instant::now() < end, error),
        }
        std::thread::sleep(PAUSE);
    }
}

impl Program {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
