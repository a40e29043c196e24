//! A hostd on a host: started, waited for, stopped.

use std::{thread::sleep, time::Duration};

use anyhow::{Context, Result, bail};

use crate::{deployment::Deployment, host::Host};

/// A hostd opens its database and its sockets within a second, or ten when emulated.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// It ends its sandboxes first.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked at.
const TICK: Duration = Duration::from_millis(50);

/// A hostd by its name, which its files have.
#[derive(Debug)]
pub struct Service<'a> {
    host: &'a Host,
    name: &'a str,
}

/// How a hostd is started.
#[derive(Debug, Default)]
pub struct Options<'a> {
    /// Where it listens for TCP clients, and the token that they must have.
    pub tcp: Option<(u16, &'a str)>,
    /// A read-only snapshot store on the host.
    pub snapshots: Option<&'a str>,
    /// More [files](Service::file) for it, by their kinds, for this user's eyes only.
    pub files: &'a [(&'a str, &'a [u8])],
    /// More arguments, as a shell reads them.
    pub arguments: &'a str,
}

impl<'a> Service<'a> {
    /// The hostd called `name` on `host`, running or not.
    pub fn new(host: &'a Host, name: &'a str) -> Self {
        Self { host, name }
    }

    /// Where it is.
    pub const fn host(&self) -> &'a Host {
        self.host
    }

    /// What it is called.
    pub const fn name(&self) -> &'a str {
        self.name
    }

    /// Its state directory on the host.
    pub fn state(&self) -> String {
        format!("{}/{}", self.host.scratch(), self.name)
    }

    /// Where its unix socket is on the host.
    pub fn socket(&self) -> String {
        self.file("sock")
    }

    /// Starts it with an empty state directory and waits until it listens.
    ///
    /// # Errors
    /// When it does not start; the message has the end of its log.
    pub fn start(&self, deployment: &Deployment, options: &Options<'_>) -> Result<Running<'_, 'a>> {
        self.stop()?;
        let programs = &deployment.programs;
        let mut line = format!(
            "{programs}/hostd --vmm {programs}/vmm --state-dir {} --images {} --listen unix:{}",
            self.state(),
            deployment.images()?,
            self.socket()
        );
        if let Some(snapshots) = options.snapshots {
            line += &format!(" --snapshots {snapshots}");
        }
        line += options.arguments;
        if let Some((port, token)) = options.tcp {
            self.write("token", token.as_bytes())?;
            let (address, file) = (self.host.listen_address(), self.file("token"));
            line += &format!(" --listen tcp:{address}:{port} --token-file {file}");
        }
        for (kind, contents) in options.files {
            self.write(kind, contents)?;
        }
        let (log, pid) = (self.file("log"), self.file("pid"));
        self.host.run(&format!(
            "mkdir -p {}; setsid {line} >{log} 2>&1 </dev/null & echo $! >{pid}",
            self.state()
        ))?;
        let running = Running {
            service: Some(self),
        };
        self.wait_for_socket()?;
        Ok(running)
    }

    /// Writes a file of its own. Not by way of a command's arguments, which everyone can read.
    fn write(&self, kind: &str, contents: &[u8]) -> Result<()> {
        let line = format!("umask 077; cat >{}", self.file(kind));
        self.host.run_with_input(&line, contents)
    }

    /// Whether its process is there.
    fn is_running(&self) -> bool {
        self.host
            .run(&format!("{}; is_ours", self.is_ours()))
            .is_ok()
    }

    /// A shell function that tells whether the noted process is this hostd: after a restart of the
    /// machine its number may be somebody else's.
    fn is_ours(&self) -> String {
        format!(
            "pid=$(cat {} 2>/dev/null); \
             is_ours() {{ grep -qs -- {} /proc/$pid/cmdline; }}",
            self.file("pid"),
            self.socket()
        )
    }

    /// Stops it, if it runs, and removes its files, its state among them.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&self) -> Result<()> {
        let ticks = STOP_PATIENCE.as_millis() / TICK.as_millis();
        let wait = format!("for _ in $(seq {ticks}); do is_ours || exit 0; sleep 0.05; done");
        self.host
            .run(&format!(
                "{}; is_ours || exit 0; kill $pid; {wait}; kill -9 $pid; {wait}; exit 1",
                self.is_ours()
            ))
            .with_context(|| format!("hostd ({}) does not end", self.name))?;
        self.host
            .run(&format!("rm -rf {} {}*", self.state(), self.file("")))?;
        Ok(())
    }

    fn wait_for_socket(&self) -> Result<()> {
        let ticks = START_PATIENCE.as_millis() / TICK.as_millis();
        for _ in 0..ticks {
            if self.host.run(&format!("[ -S {} ]", self.socket())).is_ok() {
                return Ok(());
            }
            if !self.is_running() {
                break;
            }
            sleep(TICK);
        }
        bail!("hostd did not start; its log ends with\n{}", self.log(20))
    }

    /// The last lines of its log.
    pub fn log(&self, lines: u32) -> String {
        let log = format!("tail -n {lines} {}", self.file("log"));
        self.host.run(&log).unwrap_or_default()
    }

    /// A file on the host that is removed when it is stopped.
    pub fn file(&self, kind: &str) -> String {
        format!("{}/{}.{kind}", self.host.runtime(), self.name)
    }
}

/// A hostd that was started: stopped when this is dropped, unless it is to be kept.
#[derive(Debug)]
pub struct Running<'s, 'a> {
    service: Option<&'s Service<'a>>,
}

impl Running<'_, '_> {
    /// Stops it.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(mut self) -> Result<()> {
        self.service.take().map_or(Ok(()), Service::stop)
    }

    /// Leaves it running.
    pub fn keep(mut self) {
        self.service = None;
    }
}

impl Drop for Running<'_, '_> {
    /// On the way of an error, which is what gets told.
    fn drop(&mut self) {
        if let Some(service) = self.service {
            let _ = service.stop();
        }
    }
}
