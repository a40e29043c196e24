//! Commands in the virtual host, by ssh.

use std::{
    ffi::OsString,
    os::unix::{ffi::OsStrExt, process::CommandExt},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};
use nix::unistd::setsid;

use super::Call;
use crate::{host::Host, virtual_host::Ssh};

/// Where a command's shell notes its PID, which is its process group's, too.
const CALLS: &str = "/run/calls";

/// What is known of a command in the virtual host.
pub struct Control {
    file: String,
}

impl Control {
    /// Sends `signal` to the command's process group.
    pub fn signal(&self, host: &Host, signal: i32) {
        // It may have ended in the meantime.
        let _ = host.run(&format!("kill -{signal} -- -$(cat {})", self.file));
    }

    /// Removes the note of its PID.
    pub fn forget(&self, host: &Host) {
        let _ = host.run(&format!("rm -f {}", self.file));
    }
}

/// Makes the call of ssh that runs `call`, on a terminal of its own if `terminal`.
///
/// # Errors
/// When the virtual host does not answer, or a word is not UTF-8.
pub fn prepare(ssh: &Ssh, call: &Call<'_>, terminal: bool) -> Result<(Command, Control)> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    ssh.connect()?;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let control = Control {
        file: format!("{CALLS}/{}-{number}", std::process::id()),
    };
    let mut command = ssh.command(&[if terminal { "-t" } else { "-T" }]);
    if !terminal {
        detach(&mut command);
    }
    command.arg(line(call, &control.file)?);
    Ok((command, control))
}

/// The shell line for the other side. The shell stays, so that a command's death by a signal
/// comes back as status 128 + number; signals to the process group do not end the shell.
fn line(call: &Call<'_>, note: &str) -> Result<String> {
    let mut path = call.path.join(":");
    path.push_str(":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let path = ("PATH".to_owned(), path);
    let assignments = std::iter::once(&path)
        .chain(call.variables)
        .map(|(name, value)| Ok(format!("{name}={}", quote(&OsString::from(value))?)))
        .collect::<Result<Vec<_>>>()?;
    let words = call.command.iter().map(quote).collect::<Result<Vec<_>>>()?;
    Ok(format!(
        // The shell's own remarks on a command that a signal ended are nobody's output.
        "echo $$ >{note}; trap : INT TERM HUP QUIT; exec 3>&2 2>/dev/null; cd /scratch; \
         export {}; {} 2>&3 3>&-; exit $?",
        assignments.join(" "),
        words.join(" ")
    ))
}

/// `word` in quotes for a POSIX shell.
fn quote(word: &OsString) -> Result<String> {
    let text = std::str::from_utf8(word.as_bytes()).context("an argument is not UTF-8")?;
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

/// Starts `command` in a session of its own: a Ctrl-C in this terminal reaches this program
/// only, which passes it on, and does not end ssh.
#[expect(unsafe_code, reason = "code between fork and exec is unsafe")]
fn detach(command: &mut Command) {
    // SAFETY: setsid is async-signal-safe and touches no memory.
    unsafe { command.pre_exec(|| setsid().map(drop).map_err(std::io::Error::from)) };
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
