//! The names by which a machine knows itself.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::MachineError;

/// The largest `/etc/hosts` that is edited, in bytes; a larger one is left as it is.
const MAX_HOSTS_BYTES: u64 = 1 << 20;

/// Host name and machine id, both validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// A DNS label.
    pub hostname: String,
    /// 32 lower-case hexadecimal digits.
    pub machine_id: String,
}

impl Identity {
    /// Tells the kernel, and writes `hostname`, `hosts` and `machine-id` in `etc`.
    ///
    /// The files belong to the sandbox: its owner may have removed `/etc` or filled the disk, and a
    /// snapshot of such a machine must still restore. So only the kernel's own name has to succeed.
    pub(super) fn apply(&self, etc: &Path) -> Result<(), MachineError> {
        nix::unistd::sethostname(&self.hostname).map_err(MachineError::call("sethostname"))?;
        for (file, result) in self.write_files(etc) {
            if let Err(error) = result {
                tracing::warn!(file, %error, "not written");
            }
        }
        Ok(())
    }

    fn write_files(&self, etc: &Path) -> [(&'static str, io::Result<()>); 3] {
        [
            (
                "hostname",
                replace(&etc.join("hostname"), &format!("{}\n", self.hostname)),
            ),
            (
                "machine-id",
                replace(&etc.join("machine-id"), &format!("{}\n", self.machine_id)),
            ),
            ("hosts", self.write_hosts(&etc.join("hosts"))),
        ]
    }

    fn write_hosts(&self, path: &Path) -> io::Result<()> {
        let old = match fs::symlink_metadata(path) {
            Ok(file) if file.is_file() && file.len() <= MAX_HOSTS_BYTES => {
                fs::read_to_string(path)?
            }
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        replace(path, &hosts_with(&old, &self.hostname))
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

/// Writes beside and renames, which never follows a link that the sandbox put there. A file that says the same
/// already is left alone: undoing a freeze writes nothing.
fn replace(path: &Path, content: &str) -> io::Result<()> {
    let found = fs::symlink_metadata(path);
    if found.is_ok_and(|found| found.is_file() && found.len() == content.len() as u64)
        && fs::read_to_string(path).is_ok_and(|old| old == content)
    {
        return Ok(());
    }
    let beside = path.with_extension("thaw-new");
    let _ = fs::remove_file(&beside);
    let result = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&beside)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .and_then(|()| fs::rename(&beside, path));
    if result.is_err() {
        let _ = fs::remove_file(&beside);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn the_three_files_are_written_without_following_links() {
        let etc = tempfile::tempdir().unwrap();
        let target = etc.path().join("elsewhere");
        fs::write(&target, "kept").unwrap();
        std::os::unix::fs::symlink(&target, etc.path().join("machine-id")).unwrap();
        let identity = Identity {
            hostname: "box".into(),
            machine_id: "0".repeat(32),
        };
        for (_, result) in identity.write_files(etc.path()) {
            result.unwrap();
        }
        let read = |name: &str| fs::read_to_string(etc.path().join(name)).unwrap();
        assert_eq!(read("hostname"), "box\n");
        assert_eq!(read("machine-id"), format!("{}\n", "0".repeat(32)));
        assert_eq!(read("hosts"), "127.0.0.1\tlocalhost\n127.0.1.1\tbox\n");
        assert_eq!(read("elsewhere"), "kept");
    }

    #[test]
    fn a_missing_directory_is_an_error_per_file() {
        let identity = Identity {
            hostname: "box".into(),
            machine_id: "0".repeat(32),
        };
        let results = identity.write_files(Path::new("/nonexistent"));
        assert!(results.iter().all(|(_, result)| result.is_err()));
    }
}
