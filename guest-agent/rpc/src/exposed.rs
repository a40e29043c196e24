//! What the sandbox has exposed: names that hostd gave out, and what each of them leads to in here.
//!
//! The host knows which sandbox a name belongs to, and only the sandbox which of its ports is meant. Each name is a file in
//! [`DIRECTORY`], so that the agent finds what the service of the procedures was told.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use procfs::net::TcpState;
use procfs::process::{FDTarget, Process, all_processes};
use serde::{Deserialize, Serialize};

/// Below the directory of the service.
const DIRECTORY: &str = "exposed";
/// Names that one sandbox may have.
const MOST: usize = 1024;
/// As long as a name in DNS.
const LONGEST: usize = 253;

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Whoever listens on this TCP port.
    Port(u16),
    /// This process or one that it started, whichever port it listens on when it is asked for.
    Pid(u32),
}

/// Lets `name` lead to `target` from now on.
///
/// # Errors
/// `name` is none, there are too many, or the file cannot be written.
pub fn expose(run: &Path, name: &str, target: Target) -> io::Result<()> {
    let path = path(run, name)?;
    let directory = run.join(DIRECTORY);
    fs::create_dir_all(&directory)?;
    if !path.exists() && fs::read_dir(&directory)?.count() >= MOST {
        let text = format!("a sandbox exposes {MOST} names at most");
        return Err(io::Error::new(ErrorKind::QuotaExceeded, text));
    }
    // Who reads it meanwhile sees the old or the new one.
    let new = directory.join(".new");
    fs::write(&new, serde_json::to_vec(&target)?)?;
    fs::rename(new, path)
}

/// The port that `name` leads to at the moment.
///
/// # Errors
/// [`ErrorKind::NotFound`]: nothing was exposed as `name`; [`ErrorKind::AddrNotAvailable`]: the process does not listen.
pub fn port(run: &Path, name: &str) -> io::Result<u16> {
    let target = serde_json::from_slice(&fs::read(path(run, name)?)?)?;
    match target {
        Target::Port(port) => Ok(port),
        Target::Pid(pid) => listening(pid)?.ok_or_else(|| {
            io::Error::new(
                ErrorKind::AddrNotAvailable,
                format!("process {pid} listens on no port"),
            )
        }),
    }
}

fn path(run: &Path, name: &str) -> io::Result<PathBuf> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte);
    let valid =
        (1..=LONGEST).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(is_plain);
    if !valid {
        return Err(io::Error::new(ErrorKind::InvalidInput, "that is no domain"));
    }
    Ok(run.join(DIRECTORY).join(name))
}

/// The lowest port on which a process or its descendants listen.
pub(crate) fn listening(pid: u32) -> io::Result<Option<u16>> {
    let processes: Vec<Process> = all_processes()
        .map_err(io::Error::other)?
        .filter_map(Result::ok)
        .collect();
    let sockets: HashSet<u64> = family(pid, &processes)
        .filter_map(|process| process.fd().ok())
        .flatten()
        .filter_map(|descriptor| match descriptor.ok()?.target {
            FDTarget::Socket(inode) => Some(inode),
            _ => None,
        })
        .collect();
    let tables = [procfs::net::tcp(), procfs::net::tcp6()];
    let ports = tables
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.state == TcpState::Listen && sockets.contains(&entry.inode));
    Ok(ports.map(|entry| entry.local_address.port()).min())
}

/// A process and its descendants.
fn family(pid: u32, processes: &[Process]) -> impl Iterator<Item = &Process> {
    let parents: HashMap<i32, i32> = processes
        .iter()
        .filter_map(|process| Some((process.pid, process.stat().ok()?.ppid)))
        .collect();
    let descends = move |mut of: i32| {
        // A process that ends meanwhile may leave a loop of numbers behind.
        for _ in 0..parents.len() {
            if u32::try_from(of) == Ok(pid) {
                return true;
            }
            match parents.get(&of) {
                Some(parent) => of = *parent,
                None => return false,
            }
        }
        false
    };
    processes
        .iter()
        .filter(move |process| descends(process.pid))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn names_lead_to_ports_and_to_processes() {
        let run = tempfile::tempdir().unwrap();
        expose(run.path(), "a.example:8443", Target::Port(80)).unwrap();
        assert_eq!(port(run.path(), "a.example:8443").unwrap(), 80);
        expose(run.path(), "a.example:8443", Target::Port(81)).unwrap();
        assert_eq!(port(run.path(), "a.example:8443").unwrap(), 81);

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap().port();
        expose(run.path(), "b.example", Target::Pid(std::process::id())).unwrap();
        // Tests beside this one may listen, too.
        assert!(port(run.path(), "b.example").unwrap() <= at);

        let mut idle = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        expose(run.path(), "c.example", Target::Pid(idle.id())).unwrap();
        let error = port(run.path(), "c.example").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
        idle.kill().unwrap();
        idle.wait().unwrap();
        assert_eq!(
            port(run.path(), "none.example").unwrap_err().kind(),
            ErrorKind::NotFound
        );
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let run = tempfile::tempdir().unwrap();
        let long = "a".repeat(LONGEST + 1);
        for bad in [
            "", ".", "..", ".new", "../x", "a/b", "a b", "ü", "a\0", &long,
        ] {
            let error = expose(run.path(), bad, Target::Port(1)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad:?}");
            assert!(port(run.path(), bad).is_err());
        }
        assert!(fs::read_dir(run.path()).unwrap().next().is_none());
    }

    #[test]
    fn there_is_a_limit() {
        let run = tempfile::tempdir().unwrap();
        for number in 0..MOST {
            expose(run.path(), &format!("n{number}"), Target::Port(1)).unwrap();
        }
        let error = expose(run.path(), "one-more", Target::Port(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
        expose(run.path(), "n7", Target::Port(2)).unwrap();
    }
}
