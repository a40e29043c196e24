//! One vmm process: started, listened to, waited for. Dropping it kills it.
//!
//! The child gets an empty environment but for [`MARKER`], null for stdin and stdout, a pipe for stderr and
//! the socketpair as descriptor 3. Everything else of ours is close-on-exec.
#![expect(
    unsafe_code,
    reason = "descriptor 3 has to be put in place between fork and exec"
)]

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::libc;
use protocol::vmm::v1::event;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::link::{Event, Link};
use super::packet::PacketSocket;
use super::{MARKER, VmmEnd, VmmError};
use crate::host::cgroup::{Cgroup, Cgroups};

/// Where the vmm finds its end of the socketpair.
const VMM_SOCKET_FD: RawFd = 3;
/// A longer line on stderr is cut in pieces.
const MAX_LOG_LINE_BYTES: usize = 1024;
/// After the process is gone, what it sent last is read within this.
const LAST_PACKETS: Duration = Duration::from_millis(500);
/// After its socket is closed, a process that is dying is gone within this.
const EXIT_NOTICE: Duration = Duration::from_secs(1);
/// A killed process is gone at once, unless the kernel has to free gigabytes first.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// A running vmm.
#[derive(Debug)]
pub struct Vmm {
    link: Link,
    events: tokio::sync::Mutex<mpsc::Receiver<Event>>,
    pid: i32,
    exit: watch::Receiver<Option<Exit>>,
    kill: CancellationToken,
    cgroup: Option<Cgroup>,
    last_words: Arc<Mutex<String>>,
}

#[derive(Clone, Copy, Debug)]
struct Exit(Option<ExitStatus>);

/// How to start one.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// The binary.
    pub path: PathBuf,
    /// Marks the process as ours.
    pub state_dir: PathBuf,
    /// Where it is accounted, if the host has cgroup v2.
    pub cgroups: Option<Cgroups>,
}

impl Launcher {
    /// Starts a vmm that waits for its first request.
    ///
    /// Call it on a thread that lives as long as hostd, such as one of tokio's workers, never one of its blocking threads:
    /// a vmm asks the kernel to die with its parent, and means the thread that forked it.
    ///
    /// # Errors
    /// The kernel has no process, no descriptor or no such binary for us.
    pub fn launch(&self) -> Result<Vmm, VmmError> {
        let spawn_error = |source| VmmError::Spawn {
            path: self.path.display().to_string(),
            source,
        };
        let (socket, theirs) = PacketSocket::pair().map_err(VmmError::Socket)?;
        let mut child = command(&self.path, &self.state_dir, theirs)
            .spawn()
            .map_err(spawn_error)?;
        // It can only be unknown when it was waited for, which nobody did.
        let pid = child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .ok_or(VmmError::Gone)?;
        let cgroup = self
            .cgroups
            .as_ref()
            .and_then(|cgroups| cgroups.make_for(pid));
        let last_words = Arc::new(Mutex::new(String::new()));
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(log_lines(stderr, pid, last_words.clone()));
        }
        let kill = CancellationToken::new();
        let exit = watch_exit(child, cgroup.clone(), kill.clone());
        let (link, events) = Link::start(socket);
        Ok(Vmm {
            link,
            events: events.into(),
            pid,
            exit,
            kill,
            cgroup,
            last_words,
        })
    }
}

impl Vmm {
    /// The socketpair to it.
    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Bounds what the process may take of the host's memory, where the host can do that. To be called before it gets a guest.
    pub fn limit_memory(&self, guest_bytes: u64) {
        if let Some(cgroup) = &self.cgroup {
            cgroup.limit_memory(guest_bytes);
        }
    }

    /// Whether the process still runs and can be talked to, as far as is known.
    pub fn is_alive(&self) -> bool {
        self.exit.borrow().is_none() && !self.link.is_closed()
    }

    /// Waits for the end of the guest or of the process, and says how it came. May be called again
    /// when cancelled, but not after it answered.
    pub async fn end(&self) -> VmmEnd {
        let mut events = self.events.lock().await;
        let mut exit = self.exit.clone();
        let status = tokio::select! {
            biased;
            Some(event) = events.recv() => return event.into(),
            exit = exited(&mut exit) => exit,
            () = self.link.closed() => match tokio::time::timeout(EXIT_NOTICE, exited(&mut exit)).await {
                Ok(exit) => exit,
                // Nobody can stop, save or resume it any more.
                Err(_) => {
                    self.kill.cancel();
                    return events.try_recv().map_or(VmmEnd::CutOff, Into::into);
                }
            },
        };
        // What it said before it died is the better explanation.
        let _ = tokio::time::timeout(LAST_PACKETS, self.link.closed()).await;
        match events.try_recv() {
            Ok(event) => event.into(),
            Err(_) => VmmEnd::Died {
                status,
                last_words: self.last_words(),
            },
        }
    }

    /// Kills the process and waits until it and its cgroup are gone.
    pub async fn destroy(self) {
        self.kill.cancel();
        let mut exit = self.exit.clone();
        // The task that reports the exit then removes the cgroup, and ends.
        let gone = exit.wait_for(|_| false);
        if tokio::time::timeout(KILL_LIMIT, gone).await.is_err() {
            tracing::error!(pid = self.pid, "a killed vmm does not go");
        }
    }

    fn last_words(&self) -> String {
        self.last_words
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Vmm {
    fn drop(&mut self) {
        self.kill.cancel();
    }
}

impl From<Event> for VmmEnd {
    fn from(event: Event) -> Self {
        match event.kind {
            event::Kind::PoweredOff => Self::PoweredOff,
            event::Kind::Reset => Self::Reset(event.message),
            event::Kind::Failed | event::Kind::Unspecified => Self::GaveUp(event.message),
        }
    }
}

async fn exited(exit: &mut watch::Receiver<Option<Exit>>) -> Option<ExitStatus> {
    match exit.wait_for(Option::is_some).await {
        Ok(exit) => exit.and_then(|Exit(status)| status),
        Err(_) => None,
    }
}

fn command(path: &Path, state_dir: &Path, socket: OwnedFd) -> Command {
    let mut command = Command::new(path);
    command
        .env_clear()
        .env(MARKER, state_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let place = move || match socket.as_raw_fd() {
        VMM_SOCKET_FD => nix::fcntl::fcntl(
            &socket,
            nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()),
        )
        .map(drop)
        .map_err(Into::into),
        // SAFETY: dup2 takes two numbers; whatever 3 was in this child is close-on-exec and of no more use.
        other => match unsafe { libc::dup2(other, VMM_SOCKET_FD) } {
            -1 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        },
    };
    // SAFETY: between fork and exec `place` only makes the system calls fcntl or dup2: it allocates
    // nothing and takes no lock.
    unsafe { command.pre_exec(place) };
    command
}

/// Owns the child: reaps it when it ends, kills it when told to, and removes its cgroup in any case.
fn watch_exit(
    mut child: Child,
    cgroup: Option<Cgroup>,
    kill: CancellationToken,
) -> watch::Receiver<Option<Exit>> {
    let (report, exit) = watch::channel(None);
    tokio::spawn(async move {
        let first = tokio::select! {
            status = child.wait() => Some(status),
            () = kill.cancelled() => None,
        };
        let status = match first {
            Some(status) => status,
            None => {
                // It fails only when the child has just ended by itself.
                let _ = child.start_kill();
                child.wait().await
            }
        };
        report.send_replace(Some(Exit(status.ok())));
        if let Some(cgroup) = cgroup {
            cgroup.remove().await;
        }
    });
    exit
}

/// Passes a vmm's stderr to our log, line by line, with bounded memory.
async fn log_lines(mut stderr: impl AsyncRead + Unpin, pid: i32, last_words: Arc<Mutex<String>>) {
    let mut buffer = [0u8; MAX_LOG_LINE_BYTES];
    let mut filled = 0;
    loop {
        let Some(free) = buffer.get_mut(filled..) else {
            return;
        };
        let Ok(read) = stderr.read(free).await else {
            return;
        };
        filled += read;
        let at_end = read == 0;
        while let Some(line_end) = line_end(buffer.get(..filled).unwrap_or_default(), at_end) {
            let line = String::from_utf8_lossy(buffer.get(..line_end).unwrap_or_default())
                .trim_end()
                .to_owned();
            buffer.copy_within(line_end..filled, 0);
            filled -= line_end;
            if !line.is_empty() {
                tracing::info!(pid, "vmm: {line}");
                *last_words.lock().unwrap_or_else(PoisonError::into_inner) = line;
            }
        }
        if at_end {
            return;
        }
    }
}

/// Where the first line ends: after its newline, or where no more fits or comes.
fn line_end(bytes: &[u8], at_end: bool) -> Option<usize> {
    let newline = bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .map(|at| at + 1);
    newline.or_else(|| {
        ((at_end && !bytes.is_empty()) || bytes.len() == MAX_LOG_LINE_BYTES).then_some(bytes.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_at_newlines_and_when_they_grow_too_long() {
        assert_eq!(line_end(b"ab\ncd", false), Some(3));
        assert_eq!(line_end(b"ab", false), None);
        assert_eq!(line_end(b"ab", true), Some(2));
        assert_eq!(line_end(b"", true), None);
        assert_eq!(
            line_end(&[b'x'; MAX_LOG_LINE_BYTES], false),
            Some(MAX_LOG_LINE_BYTES)
        );
    }
}
