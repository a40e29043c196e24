//! The names by which a machine knows itself.
//!
//! `/etc/hostname`, `/etc/hosts` and `/etc/machine-id` are bind mounts of files in [`DIRECTORY`], a tmpfs, which PID 1
//! sets up with [`mount_files`]. So a restored machine takes its names without touching a disk: that would be the
//! most expensive part of the barrier.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::mount::{MsFlags, mount};

use super::MachineError;

/// Where the files are.
const DIRECTORY: &str = "/run/thaw";

/// Their names there and in `/etc`.
const FILES: [&str; 3] = ["hostname", "hosts", "machine-id"];

/// The largest file that is taken over from the image, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Host name and machine id, both validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// A DNS label.
    pub hostname: String,
    /// 32 lower-case hexadecimal digits.
    pub machine_id: String,
}

/// Mounts the files over those in `/etc`, with the image's content. Called once by PID 1, in the new root.
///
/// # Errors
/// The first file that cannot be made or mounted.
pub(crate) fn mount_files() -> Result<(), MachineError> {
    fs::create_dir_all(DIRECTORY).map_err(MachineError::io("mkdir /run/thaw"))?;
    for name in FILES {
        let (own, etc) = (
            Path::new(DIRECTORY).join(name),
            Path::new("/etc").join(name),
        );
        let content = read(&etc).unwrap_or_default();
        write(&own, &content).map_err(MachineError::io("writing in /run/thaw"))?;
        // What is mounted on has to exist.
        let _ = File::options()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&etc);
        mount(
            Some(&own),
            &etc,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .map_err(MachineError::call("mounting a file on /etc"))?;
    }
    Ok(())
}

impl Identity {
    /// Tells the kernel, and writes the files.
    ///
    /// The files are within the sandbox's reach: its owner may have spoilt them, and a snapshot of such a
    /// machine must still restore. So only the kernel's own name has to succeed.
    pub(super) fn apply(&self) -> Result<(), MachineError> {
        nix::unistd::sethostname(&self.hostname).map_err(MachineError::call("sethostname"))?;
        if let Err(error) = self.write_files(Path::new(DIRECTORY)) {
            tracing::warn!(%error, "the files of the machine's identity");
        }
        Ok(())
    }

    fn write_files(&self, directory: &Path) -> io::Result<()> {
        let hosts = directory.join("hosts");
        let old = read(&hosts).unwrap_or_default();
        write(&hosts, &hosts_with(&old, &self.hostname))?;
        write(&directory.join("hostname"), &format!("{}\n", self.hostname))?;
        write(
            &directory.join("machine-id"),
            &format!("{}\n", self.machine_id),
        )
    }
}

/// The hosts file with `127.0.1.1` as this machine's name, as Debian writes it.
fn hosts_with(old: &str, hostname: &str) -> String {
    let has = |address: &str| {
        old.lines()
            .any(|line| line.split_whitespace().next() == Some(address))
    };
    let mut lines = Vec::new();
    if !has("127.0.0.1") {
        lines.push("127.0.0.1\tlocalhost".to_owned());
    }
    let own = format!("127.0.1.1\t{hostname}");
    if !has("127.0.1.1") {
        lines.push(own.clone());
    }
    lines.extend(
        old.lines()
            .map(|line| match line.split_whitespace().next() {
                Some("127.0.1.1") => own.clone(),
                _ => line.to_owned(),
            }),
    );
    lines.join("\n") + "\n"
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    file.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// In place, because the file is mounted elsewhere, and never through a link. Nobody reads half of it: before Enter
/// lets them, no process runs.
fn write(path: &Path, content: &str) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    file.write_all(content.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            hostname: "box".into(),
            machine_id: "0".repeat(32),
        }
    }

    #[test]
    fn a_new_name_replaces_the_old_one() {
        let first = hosts_with("127.0.0.1 localhost\n::1 localhost\n", "one");
        assert_eq!(
            first,
            "127.0.1.1\tone\n127.0.0.1 localhost\n::1 localhost\n"
        );
        let second = hosts_with(&first, "two");
        assert_eq!(
            second,
            "127.0.1.1\ttwo\n127.0.0.1 localhost\n::1 localhost\n"
        );
    }

    #[test]
    fn the_three_files_are_written() {
        let directory = tempfile::tempdir().unwrap();
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        for hostname in ["a-longer-one", "box"] {
            let identity = Identity {
                hostname: hostname.into(),
                ..identity()
            };
            identity.write_files(directory.path()).unwrap();
            assert_eq!(read("hostname"), format!("{hostname}\n"));
        }
        assert_eq!(read("machine-id"), format!("{}\n", "0".repeat(32)));
        assert_eq!(read("hosts"), "127.0.0.1\tlocalhost\n127.0.1.1\tbox\n");
    }

    #[test]
    fn links_are_not_followed_and_nothing_hangs() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("elsewhere"), "kept").unwrap();
        std::os::unix::fs::symlink(at("elsewhere"), at("hostname")).unwrap();
        identity().write_files(directory.path()).unwrap_err();
        assert_eq!(fs::read_to_string(at("elsewhere")).unwrap(), "kept");
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(read(&at("fifo")).is_err());
    }
}
