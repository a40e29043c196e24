//! The program `thaw`, run as users run it: from a script, or at a terminal.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::Host;
use crate::products::Products;

/// For what a program at a terminal says or does next.
const SOON: Duration = Duration::from_secs(60);

/// `thaw`, pointed at one host.
#[derive(Clone, Debug)]
pub struct Thaw {
    program: PathBuf,
    endpoint: String,
    variables: Vec<(String, String)>,
}

/// What a run of `thaw` said and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit status; none when a signal killed `thaw` itself.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Thaw {
    /// The one that was built with the tests.
    pub fn new(host: &Host) -> crate::Result<Self> {
        let program = Products::find()?.binary("thaw")?;
        Ok(Self::at(
            &program,
            &format!("unix:{}", host.socket().display()),
        ))
    }

    /// This program, pointed there.
    pub fn at(program: &Path, endpoint: &str) -> Self {
        Self {
            program: program.to_owned(),
            endpoint: endpoint.to_owned(),
            variables: Vec::new(),
        }
    }

    /// The same in a shell that has this variable.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    fn command(&self, arguments: &[&str]) -> Command {
        // A session of its own for the terminal; the tests' own terminal is nobody's business.
        let mut command = Command::new("setsid");
        command.arg("--wait").arg(&self.program);
        self.configure(&mut command, arguments);
        command
    }

    fn configure(&self, command: &mut Command, arguments: &[&str]) {
        command
            .args(arguments)
            .env("THAW_ENDPOINT", &self.endpoint)
            .env("TERM", "dumb")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .kill_on_drop(true);
    }

    /// Starts it with pipes for output and nothing on standard input.
    pub fn spawn(&self, arguments: &[&str]) -> crate::Result<Child> {
        let mut command = Command::new(&self.program);
        self.configure(&mut command, arguments);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Ok(command.spawn()?)
    }

    /// Runs it to its end.
    pub async fn output(&self, arguments: &[&str]) -> crate::Result<Output> {
        self.with_input(arguments, b"").await
    }

    /// Runs it to its end with these bytes on standard input.
    pub async fn with_input(&self, arguments: &[&str], input: &[u8]) -> crate::Result<Output> {
        let mut command = self.command(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let mut stdin = child.stdin.take().context("no pipe")?;
        let write = async {
            // A program that does not read its input may end before it is written.
            let _ = stdin.write_all(input).await;
            drop(stdin);
        };
        let ((), output) = tokio::join!(write, child.wait_with_output());
        let output = output?;
        Ok(Output {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout)?,
            stderr: String::from_utf8(output.stderr)?,
        })
    }

    /// What a run that ends well prints, trimmed.
    pub async fn says(&self, arguments: &[&str]) -> crate::Result<String> {
        let output = self.output(arguments).await?;
        ensure!(output.code == Some(0), "thaw {arguments:?}: {output:?}");
        Ok(output.stdout.trim().to_owned())
    }
}

/// `thaw` at a terminal of its own.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    master: File,
    terminal: OwnedFd,
}

impl Terminal {
    /// Starts it as the session leader of a new terminal of so many rows and columns.
    pub fn run(thaw: &Thaw, arguments: &[&str], size: (u16, u16)) -> crate::Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let terminal: OwnedFd = File::options()
            .read(true)
            .write(true)
            .open(name.to_str()?)?
            .into();
        resize(&master, size)?;
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(&thaw.program);
        thaw.configure(&mut command, arguments);
        command
            .stdin(terminal.try_clone()?)
            .stdout(terminal.try_clone()?)
            .stderr(terminal.try_clone()?);
        let child = command.spawn()?;
        fcntl_setfl(&master, fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
        Ok(Self {
            child,
            master: master.into(),
            terminal,
        })
    }

    /// Changes the terminal's size.
    pub fn resize(&self, rows: u16, cols: u16) -> crate::Result {
        resize(&self.master, (rows, cols))
    }

    /// Types.
    pub async fn write(&mut self, data: &[u8]) -> crate::Result {
        Ok(std::io::Write::write_all(&mut self.master, data)?)
    }

    /// Reads until the terminal has shown `text`.
    pub async fn read_until(&mut self, text: &str) -> crate::Result<String> {
        let end = tokio::time::Instant::now() + SOON;
        let mut seen = Vec::new();
        let mut buffer = [0; 4096];
        while tokio::time::Instant::now() < end {
            match self.master.read(&mut buffer) {
                Ok(count) => seen.extend(buffer.iter().take(count)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => bail!("{error} after {:?}", String::from_utf8_lossy(&seen)),
            }
            let shown = String::from_utf8_lossy(&seen);
            if shown.contains(text) {
                return Ok(shown.into_owned());
            }
        }
        bail!("no {text:?} in {:?}", String::from_utf8_lossy(&seen))
    }

    /// Waits until `thaw` has ended.
    pub async fn wait(&mut self) -> crate::Result<ExitStatus> {
        let ended = tokio::time::timeout(SOON, self.child.wait()).await;
        if ended.is_err() {
            let mut rest = [0; 4096];
            let count = self.master.read(&mut rest).unwrap_or_default();
            let shown = String::from_utf8_lossy(rest.get(..count).unwrap_or_default());
            bail!("thaw does not end; the terminal shows {shown:?}");
        }
        Ok(ended??)
    }

    /// Whether the terminal is as a shell wants to find it.
    pub fn is_cooked(&self) -> crate::Result<bool> {
        let modes = tcgetattr(&self.terminal)?.local_modes;
        Ok(modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG))
    }
}

fn resize(terminal: impl AsFd, (ws_row, ws_col): (u16, u16)) -> crate::Result {
    let size = Winsize {
        ws_row,
        ws_col,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(tcsetwinsize(terminal, size)?)
}
