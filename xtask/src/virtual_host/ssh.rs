//! Commands in the virtual host, through OpenSSH with one shared connection.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Result, bail};

/// The name under which ssh knows the virtual host's key.
const ALIAS: &str = "thaw-virtual-host";

/// How to reach one virtual host.
#[derive(Debug)]
pub struct Ssh {
    port: u16,
    control_socket: PathBuf,
    key: PathBuf,
    known_hosts: PathBuf,
}

impl Ssh {
    /// Describes the way to the virtual host whose ssh server is at `port` of 127.0.0.1.
    ///
    /// # Errors
    /// When the keys cannot be read.
    pub fn new(port: u16, runtime: &Path, keys: &super::keys::Keys) -> Result<Self> {
        Ok(Self {
            port,
            control_socket: runtime.join("ssh"),
            key: keys.caller(),
            known_hosts: keys.known_hosts(ALIAS)?,
        })
    }

    /// A call of ssh that lacks the command. `options` come before the address.
    pub fn command(&self, options: &[&str]) -> Command {
        let option = |name: &str, path: &Path| format!("{name}={}", path.display());
        let mut command = Command::new("ssh");
        command
            .args(["-q", "-F", "none", "-p", &self.port.to_string(), "-i"])
            .arg(&self.key)
            .args(["-o", &option("UserKnownHostsFile", &self.known_hosts)])
            .args(["-o", &option("ControlPath", &self.control_socket)])
            .args(["-o", &format!("HostKeyAlias={ALIAS}")])
            .args([
                "-o",
                "BatchMode=yes",
                "-o",
                "IdentitiesOnly=yes",
                "-o",
                "StrictHostKeyChecking=yes",
            ])
            .args([
                "-o",
                "ControlMaster=auto",
                "-o",
                "ControlPersist=yes",
                "-o",
                "ConnectTimeout=30",
            ])
            // A virtual host that hangs is noticed, but not one that is merely busy.
            .args([
                "-o",
                "ServerAliveInterval=15",
                "-o",
                "ServerAliveCountMax=8",
            ])
            .args(options)
            .arg("root@127.0.0.1");
        command
    }

    /// Runs a shell line and returns what it printed.
    ///
    /// # Errors
    /// When it fails; the message has what it wrote to standard error.
    pub fn run(&self, line: &str) -> Result<String> {
        self.connect()?;
        let output = self
            .command(&["-T"])
            .arg(line)
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            bail!(
                "in the virtual host: `{line}` failed ({}): {}",
                output.status,
                complaint.trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Opens the shared connection when it is not open. It must not be the caller's own ssh
    /// that stays behind as the master, because it would hold the caller's output open.
    ///
    /// # Errors
    /// When the virtual host does not answer.
    pub fn connect(&self) -> Result<()> {
        if self.control(&["-O", "check"])? || self.control(&["-f", "-N", "-M"])? {
            return Ok(());
        }
        bail!("cannot connect to the virtual host: `cargo xtask down` ends it, then try again")
    }

    /// Closes the shared connection.
    pub fn disconnect(&self) {
        let _ = self.control(&["-O", "exit"]);
    }

    fn control(&self, options: &[&str]) -> Result<bool> {
        let mut command = self.command(options);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(command.status()?.success())
    }
}
