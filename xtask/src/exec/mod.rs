//! Runs a command on a host as if it were started here: input, output, terminal, signals and
//! exit status pass through.

mod remote;
pub mod signals;

use std::{
    ffi::OsString,
    io::{BufRead, BufReader, IsTerminal, Read, stdin, stdout},
    process::{Child, Command, Stdio},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::host::Host;

/// How often the child and the signals are looked at.
const TICK: Duration = Duration::from_millis(5);
/// How often it is asked whether a program still makes sense.
const VAIN_TICK: Duration = Duration::from_secs(60);

/// A command and its surroundings.
#[derive(Debug)]
pub struct Call<'a> {
    /// Directories of the host that come first in `PATH`.
    pub path: &'a [String],
    /// Variables added to its environment.
    pub variables: &'a [(String, String)],
    /// Program and arguments.
    pub command: &'a [OsString],
}

/// Runs `call` with this program's own input and output; returns the exit status, 128 + number for a
/// death by a signal.
///
/// # Errors
/// When the host cannot be reached. A command that fails is no error.
pub fn run(host: &Host, call: &Call<'_>) -> Result<u8> {
    let terminal = stdin().is_terminal() && stdout().is_terminal();
    let mut prepared = Prepared::new(host, call, terminal)?;
    let child = prepared
        .command
        .spawn()
        .context("cannot start the command")?;
    prepared.wait(host, child)
}

/// Runs `call` without input, and gives each line that it prints to `line` as well as to this program's
/// own output. Returns the exit status.
///
/// # Errors
/// When the host cannot be reached, or a signal asked this program to end.
pub fn run_watched(host: &Host, call: &Call<'_>, mut line: impl FnMut(&str)) -> Result<u8> {
    let mut prepared = Prepared::new(host, call, false)?;
    prepared.command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = prepared
        .command
        .spawn()
        .context("cannot start the command")?;
    let output = child.stdout.take().context("the command has no output")?;
    thread::scope(|scope| {
        // Reading blocks, and signals are to be passed on meanwhile.
        let waiting = scope.spawn(|| prepared.wait(host, child));
        watch(output, &mut line);
        waiting
            .join()
            .unwrap_or_else(|_| bail!("waiting for the command panicked"))
    })
}

/// Runs a program on this machine without input, and gives each line that it prints to `line` as well as to this program's own
/// output. It is killed when a signal asks this program to end, or when `is_vain`, which is asked now and then. Whether it
/// ended well.
///
/// # Errors
/// When it cannot be started.
pub fn run_here(
    program: &mut Command,
    line: &mut impl FnMut(&str),
    is_vain: impl Fn() -> bool + Sync,
) -> Result<bool> {
    let mut child = program
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program.get_program().display()))?;
    let output = child.stdout.take().context("the program has no output")?;
    thread::scope(|scope| {
        let waiting = scope.spawn(|| -> Result<bool> {
            let mut asked = Instant::now();
            loop {
                if let Some(status) = child.try_wait()? {
                    return Ok(status.success());
                }
                let ask = asked.elapsed() > VAIN_TICK;
                if signals::check().is_err() || (ask && is_vain()) {
                    child.kill()?;
                    child.wait()?;
                    return Ok(false);
                }
                if ask {
                    asked = Instant::now();
                }
                sleep(TICK);
            }
        });
        watch(output, line);
        waiting
            .join()
            .unwrap_or_else(|_| bail!("waiting for the program panicked"))
    })
}

/// Gives each line of `output` to `line`, and shows it.
pub fn watch(output: impl Read, line: &mut impl FnMut(&str)) {
    let mut reader = BufReader::new(output);
    let mut bytes = Vec::new();
    while reader
        .read_until(b'\n', &mut bytes)
        .is_ok_and(|count| count > 0)
    {
        let text = String::from_utf8_lossy(&bytes);
        print!("{text}");
        line(text.trim_end());
        bytes.clear();
    }
}

/// A command that is ready to start.
struct Prepared {
    command: Command,
    /// Signals the command in the virtual host; absent here, where it is our child.
    remote: Option<remote::Control>,
}

impl Prepared {
    fn new(host: &Host, call: &Call<'_>, terminal: bool) -> Result<Self> {
        signals::watch()?;
        match host {
            Host::Virtual(virtual_host) => {
                let (command, control) = remote::prepare(virtual_host.ssh(), call, terminal)?;
                Ok(Self {
                    command,
                    remote: Some(control),
                })
            }
            Host::Here(here) => {
                let (program, arguments) = call.command.split_first().context("no command")?;
                let mut command = Command::new("env");
                let path = std::env::var("PATH").unwrap_or_default();
                command.arg(format!("PATH={}:{path}", call.path.join(":")));
                let variables = call
                    .variables
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"));
                command
                    .args(variables)
                    .arg(program)
                    .args(arguments)
                    .current_dir(here.scratch());
                Ok(Self {
                    command,
                    remote: None,
                })
            }
        }
    }

    /// Waits for the command to end, and passes signals on to it.
    fn wait(&self, host: &Host, mut child: Child) -> Result<u8> {
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            match (signals::take(), &self.remote) {
                (None, _) => sleep(TICK),
                (Some(signal), Some(control)) => control.signal(host, signal),
                (Some(signal), None) => {
                    let pid = Pid::from_raw(i32::try_from(child.id())?);
                    kill(pid, Signal::try_from(signal)?)?;
                }
            }
        };
        if let Some(control) = &self.remote {
            control.forget(host);
        }
        let by_signal = std::os::unix::process::ExitStatusExt::signal(&status).map(|s| 128 + s);
        let code = status
            .code()
            .or(by_signal)
            .and_then(|code| u8::try_from(code).ok());
        Ok(code.unwrap_or(u8::MAX))
    }
}
