//! Runs a command in the virtual host as if it ran here: input, output, terminal, signals and
//! exit status pass through.

use std::{
    ffi::OsString,
    io::{IsTerminal, stdin, stdout},
    os::unix::ffi::OsStrExt,
    process::{Child, ExitCode},
    sync::atomic::{AtomicI32, Ordering},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::virtual_host::{VirtualHost, shelf};

/// Signals that are passed on to the command.
const PASSED_ON: &[Signal] = &[
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
];
/// How often the child and the signals are looked at.
const TICK: Duration = Duration::from_millis(5);
/// Where a command's shell notes its PID, which is its process group's, too.
const CALLS: &str = "/run/calls";

/// Puts `sets` on the host's shelf and runs `command` there with all of them in its `PATH`.
///
/// # Errors
/// When the host cannot be reached. A command that fails is no error.
pub fn run(host: &VirtualHost, sets: &[shelf::Set], command: &[OsString]) -> Result<ExitCode> {
    host.ssh().connect()?;
    let directories = sets
        .iter()
        .filter(|set| !set.is_empty())
        .map(|set| host.shelve(set))
        .collect::<Result<Vec<_>>>()?;
    let call = format!("{CALLS}/{}", std::process::id());
    let line = remote_line(&directories, &call, command)?;

    watch_signals()?;
    let terminal = stdin().is_terminal() && stdout().is_terminal();
    let mut child = host
        .ssh()
        .command(&[if terminal { "-t" } else { "-T" }])
        .arg(line)
        .spawn()
        .context("cannot start ssh")?;
    let status = wait(&mut child, |signal| {
        let _ = host.ssh().run(&format!("kill -{signal} -- -$(cat {call})"));
    })?;
    let _ = host.ssh().run(&format!("rm -f {call}"));
    Ok(ExitCode::from(status))
}

/// The shell line for the other side. The shell stays, so that a command's death by a signal
/// comes back as status 128 + number; signals to the process group do not end the shell.
fn remote_line(directories: &[String], call: &str, command: &[OsString]) -> Result<String> {
    let mut path = directories.join(":");
    path.push_str(":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let words = command
        .iter()
        .map(quote)
        .collect::<Result<Vec<_>>>()?;
    Ok(format!(
        "echo $$ >{call}; trap : INT TERM HUP QUIT; cd /scratch; export PATH={path} \
         THAW_PRODUCTS={}; {}; exit $?",
        directories.first().map_or("", String::as_str),
        words.join(" ")
    ))
}

/// `word` in quotes for a POSIX shell.
fn quote(word: &OsString) -> Result<String> {
    let text = std::str::from_utf8(word.as_bytes()).context("an argument is not UTF-8")?;
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

/// The last signal that has not been passed on yet; 0 for none.
static PENDING: AtomicI32 = AtomicI32::new(0);

extern "C" fn note(signal: i32) {
    PENDING.store(signal, Ordering::Relaxed);
}

#[expect(unsafe_code, reason = "installing a signal handler is unsafe")]
fn watch_signals() -> Result<()> {
    let action = SigAction::new(
        SigHandler::Handler(note),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    for signal in PASSED_ON {
        // SAFETY: the handler stores to an atomic and does nothing else.
        unsafe { sigaction(*signal, &action) }?;
    }
    Ok(())
}

/// Waits for ssh to end and returns its status; hands signals to `pass_on`.
fn wait(child: &mut Child, pass_on: impl Fn(i32)) -> Result<u8> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status
                .code()
                .and_then(|code| u8::try_from(code).ok())
                .unwrap_or(255));
        }
        match PENDING.swap(0, Ordering::Relaxed) {
            0 => sleep(TICK),
            signal => pass_on(signal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(
            quote(&OsString::from("it's $HOME")).unwrap(),
            r"'it'\''s $HOME'"
        );
    }
}
