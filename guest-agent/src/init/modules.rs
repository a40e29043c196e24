//! Kernel modules, loaded from the initramfs in the order that `modules.dep` gives.
//!
//! A distribution's kernel has the guest's drivers as modules. Names that are built in or that this
//! kernel does not have are passed over: what was really needed shows when a disk or a mount is missing.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module, init_module};

/// What a guest needs. `crc32c` comes first: `ext4` and `erofs` ask the crypto API for it by name,
/// which `modules.dep` does not know.
const WANTED: [&str; 11] = [
    "crc32c_generic",
    "crc32c_intel",
    "virtio_pci",
    "virtio_blk",
    "erofs",
    "ext4",
    "overlay",
    "vmw_vsock_virtio_transport",
    "virtio_rng",
    "virtio_balloon",
    "virtio_net",
];

/// The largest module after decompression, in bytes; Debian's largest here is below 3 MiB.
const MAX_MODULE_BYTES: u64 = 64 << 20;

/// Loads every wanted module. Answers what was not loaded and why, for an error message.
pub(super) fn load_all() -> Vec<String> {
    let Ok(uname) = nix::sys::utsname::uname() else {
        return vec!["all: uname failed".to_owned()];
    };
    let directory = Path::new("/lib/modules").join(uname.release());
    let index = Index::read(&directory);
    let mut loaded = HashSet::new();
    let mut problems = Vec::new();
    for name in WANTED {
        match index.files_of(name) {
            Some(files) => {
                for file in files {
                    if !loaded.insert(file.clone()) {
                        continue;
                    }
                    if let Err(error) = load(&directory.join(&file)) {
                        problems.push(format!("{file}: {error}"));
                    }
                }
            }
            None if index.built_in.contains(name) => {}
            None => problems.push(format!("{name}: not in {}", directory.display())),
        }
    }
    problems
}

/// Removes the loaded modules from the initramfs, which is memory.
pub(super) fn free_initramfs() {
    let _ = fs::remove_dir_all("/lib/modules");
}

/// `modules.dep` and `modules.builtin` of one kernel.
struct Index {
    /// Module name to its file and those it needs, as `modules.dep` lists them.
    files: HashMap<String, Vec<String>>,
    built_in: HashSet<String>,
}

impl Index {
    /// Files that are missing or unreadable count as empty: everything may be built in.
    fn read(directory: &Path) -> Self {
        let text = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default();
        Self {
            files: parse_dependencies(&text("modules.dep")),
            built_in: text("modules.builtin").lines().map(module_name).collect(),
        }
    }

    /// The files to load for a module, dependencies first.
    fn files_of(&self, name: &str) -> Option<Vec<String>> {
        let mut files = self.files.get(name)?.clone();
        files.reverse();
        Some(files)
    }
}

/// A line is `path: dependency dependency…`; the dependency to load first comes last.
fn parse_dependencies(text: &str) -> HashMap<String, Vec<String>> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(module, needs)| {
            let files = std::iter::once(module).chain(needs.split_whitespace());
            (module_name(module), files.map(str::to_owned).collect())
        })
        .collect()
}

/// `kernel/fs/ext4/ext4.ko.xz` is `ext4`. The kernel takes `-` and `_` for the same.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.split_once(".ko").map_or(file, |(stem, _)| stem);
    stem.replace('-', "_")
}

fn load(path: &PathBuf) -> io::Result<()> {
    let file = File::open(path)?;
    let result = if path.extension().is_some_and(|extension| extension == "xz") {
        let mut image = Vec::new();
        xz2::read::XzDecoder::new(file)
            .take(MAX_MODULE_BYTES)
            .read_to_end(&mut image)?;
        init_module(&image, c"")
    } else {
        finit_module(&file, c"", ModuleInitFlags::empty())
    };
    match result {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        // crc32c_intel on a processor without the instruction, for example.
        Err(Errno::ENODEV) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_before_their_user() {
        let index = Index {
            files: parse_dependencies(
                "kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko.xz kernel/lib/crc16.ko.xz\n\
                 kernel/net/vmw_vsock/vmw-vsock-virtio-transport.ko:\n",
            ),
            built_in: HashSet::new(),
        };
        assert_eq!(
            index.files_of("ext4"),
            Some(vec![
                "kernel/lib/crc16.ko.xz".to_owned(),
                "kernel/fs/jbd2/jbd2.ko.xz".to_owned(),
                "kernel/fs/ext4/ext4.ko.xz".to_owned(),
            ])
        );
        assert!(index.files_of("vmw_vsock_virtio_transport").is_some());
        assert!(index.files_of("missing").is_none());
    }
}
