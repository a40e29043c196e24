//! The state directory.
//!
//! ```text
//! STATE/                0700
//!   lock                held by the one hostd that runs on it
//!   hostd.db            records (SQLite, WAL)
//!   ssh_host_key        0600, by which clients of SSH know the host again
//!   sealing.key         0600, the private key that sealed secrets are opened with
//!   images/             installed images, unless --images says otherwise
//!   snapshots/          the writable snapshot store
//!   run/<sandbox id>/   0700, while the sandbox lives
//!     vsock.sock        the vmm accepts `CONNECT <port>` here
//! ```

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::id::SandboxId;

/// The kernel's limit for the path of a unix socket, with its terminating zero.
const SUN_PATH_LEN: usize = 108;
/// `/run/<30 characters of id>/vsock.sock`.
const LONGEST_SOCKET_SUFFIX: usize = 5 + 30 + 11;

/// A hostd that was killed while it started a program leaves the lock to the copy of itself that was to become it, for
/// a moment.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_TICK: Duration = Duration::from_millis(20);

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// Another hostd has it.
    #[error("another hostd runs on {path} (pid {pid}); stop it or choose another --state-dir")]
    Locked {
        /// The state directory.
        path: PathBuf,
        /// What the lock file says.
        pid: String,
    },
    /// Sockets below it would have names that the kernel refuses.
    #[error("the path {0} is too long for the sockets below it; choose a shorter --state-dir")]
    TooLong(PathBuf),
    /// Not a directory that we may use.
    #[error("cannot use the state directory {path}; is hostd running as root?")]
    Io {
        /// Which file or directory.
        path: PathBuf,
        #[source]
        /// What the kernel said.
        source: io::Error,
    },
}

/// The locked state directory. Dropping it lets the lock go.
#[derive(Debug)]
pub struct StateDir {
    root: PathBuf,
    _lock: Flock<File>,
}

impl StateDir {
    /// Makes the directory if it is missing and takes its lock. Blocks for at most two seconds.
    pub fn open(path: &Path) -> Result<Self, StateDirError> {
        let io_error = |source| StateDirError::Io {
            path: path.to_owned(),
            source,
        };
        private_dir(path).map_err(io_error)?;
        let root = path.canonicalize().map_err(io_error)?;
        if root.as_os_str().len() + LONGEST_SOCKET_SUFFIX >= SUN_PATH_LEN {
            return Err(StateDirError::TooLong(root));
        }
        let lock = lock(&root)?;
        let dir = Self { root, _lock: lock };
        for sub in [dir.run(), dir.images(), dir.snapshots()] {
            private_dir(&sub).map_err(|source| StateDirError::Io {
                path: sub.clone(),
                source,
            })?;
        }
        Ok(dir)
    }

    /// The directory itself, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The database file.
    pub fn database(&self) -> PathBuf {
        self.root.join("hostd.db")
    }

    /// The private key of sealed secrets.
    pub fn sealing_key(&self) -> PathBuf {
        self.root.join("sealing.key")
    }

    /// The host's key of SSH.
    pub fn ssh_host_key(&self) -> PathBuf {
        self.root.join("ssh_host_key")
    }

    /// Where images are unless configured otherwise.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// The writable snapshot store.
    pub fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// The parent of all sandboxes' directories.
    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// One sandbox's directory.
    pub fn sandbox(&self, id: &SandboxId) -> PathBuf {
        self.run().join(id.as_str())
    }
}

/// Makes a directory, and its parents, that only we can enter. An existing one is left as it is.
fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn lock(root: &Path) -> Result<Flock<File>, StateDirError> {
    let path = root.join("lock");
    let io_error = |source| StateDirError::Io {
        path: path.clone(),
        source,
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(io_error)?;
    let until = Instant::now() + LOCK_PATIENCE;
    let locked = loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => break locked,
            Err((_, errno)) if errno != Errno::EWOULDBLOCK => return Err(io_error(errno.into())),
            Err((again, _)) if Instant::now() < until => file = again,
            Err(_) => {
                return Err(StateDirError::Locked {
                    path: root.to_owned(),
                    pid: std::fs::read_to_string(&path)
                        .map_or_else(|_| "unknown".into(), |pid| pid.trim().to_owned()),
                });
            }
        }
        sleep(LOCK_TICK);
    };
    // Only for people who read the message above.
    locked.set_len(0).map_err(io_error)?;
    writeln!(&*locked, "{}", std::process::id()).map_err(io_error)?;
    Ok(locked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_at_a_time() {
        let temp = tempfile::tempdir().unwrap();
        let first = StateDir::open(temp.path()).unwrap();
        let refused = StateDir::open(temp.path()).unwrap_err();
        assert!(
            matches!(&refused, StateDirError::Locked { pid, .. } if *pid == std::process::id().to_string()),
            "{refused}"
        );
        drop(first);
        StateDir::open(temp.path()).unwrap();
    }

    #[test]
    fn a_path_too_long_for_sockets_is_refused_at_once() {
        let temp = tempfile::tempdir().unwrap();
        let long = temp.path().join("x".repeat(80));
        assert!(matches!(
            StateDir::open(&long),
            Err(StateDirError::TooLong(_))
        ));
    }
}
