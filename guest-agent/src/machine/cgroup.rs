//! A directory of cgroup v2, held open.
//!
//! Paths in a sandbox mean what its root has mounted there. Everything is therefore opened beneath a directory
//! that was opened before the first program ran, and a mount on the way is an error.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::Pid;

/// One cgroup and those below it.
#[derive(Debug)]
pub(super) struct Cgroup(File);

impl Cgroup {
    /// Opens the cgroup at a path.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        File::open(path).map(Self)
    }

    /// Makes a cgroup below this one, or takes the one that is there.
    pub(super) fn child(&self, name: &str) -> Result<Self, Errno> {
        match mkdirat(&self.0, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
        let directory = open_beneath(&self.0, Path::new(name), OFlag::O_DIRECTORY)?;
        Ok(Self(directory.into()))
    }

    /// Opens one of its files for reading.
    pub(super) fn file(&self, path: impl AsRef<Path>) -> Result<File, Errno> {
        open_beneath(&self.0, path.as_ref(), OFlag::O_RDONLY).map(File::from)
    }

    /// Writes one of its files.
    pub(super) fn write(&self, name: &str, value: &str) -> io::Result<()> {
        let file = open_beneath(&self.0, Path::new(name), OFlag::O_WRONLY)?;
        File::from(file).write_all(value.as_bytes())
    }

    /// The processes in it and in all cgroups below, but for its child `except`.
    pub(super) fn processes(&self, except: Option<&str>) -> io::Result<Vec<Pid>> {
        let mut found = Vec::new();
        let mut below = self.look_into(Path::new("."), &mut found)?;
        below.retain(|path| path.file_name() != except.map(OsStr::new));
        // Not recursive: how deep the cgroups are nested is up to the guest.
        while let Some(path) = below.pop() {
            match self.look_into(&path, &mut found) {
                Ok(more) => below.extend(more),
                // Removed meanwhile.
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Adds the processes of one cgroup; answers the cgroups directly below it.
    fn look_into(&self, path: &Path, found: &mut Vec<Pid>) -> io::Result<Vec<PathBuf>> {
        let mut text = String::new();
        let mut file = self.file(path.join("cgroup.procs"))?;
        match file.read_to_string(&mut text) {
            // A threaded cgroup: its processes are listed further up.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
            result => drop(result?),
        }
        let numbers = text.lines().filter_map(|line| line.parse().ok());
        found.extend(numbers.map(Pid::from_raw));
        let mut below = Vec::new();
        let directory = open_beneath(&self.0, path, OFlag::O_DIRECTORY)?;
        for entry in Dir::from_fd(directory)?.iter() {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if entry.file_type() == Some(Type::Directory) && name != "." && name != ".." {
                below.push(path.join(name));
            }
        }
        Ok(below)
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}

/// Opens what is beneath a directory on the same mount.
pub(super) fn open_beneath(
    directory: impl AsFd,
    path: &Path,
    flags: OFlag,
) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_XDEV
        | ResolveFlag::RESOLVE_NO_SYMLINKS;
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(resolve);
    openat2(directory, path, how)
}
