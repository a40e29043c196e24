//! The initramfs: the agent as `/init`, and the kernel modules that it loads.

use std::{collections::BTreeSet, fs, path::Path};

use super::{Error, at};
use crate::{cpio::Archive, kernel::package::KernelTree, recipe::Recipe};

/// Directories that the agent mounts on, or that the kernel expects.
const DIRECTORIES: &[&str] = &["dev", "proc", "sys", "run", "tmp", "lib", "lib/modules"];

/// Writes it to `path`.
///
/// # Errors
/// [`Error`] when the agent or a module cannot be read, or the file cannot be written.
pub fn write(recipe: &Recipe, kernel: &KernelTree, agent: &Path, path: &Path) -> Result<(), Error> {
    let modules = kernel.modules()?;
    let files = modules.load_order(recipe.modules.iter().map(String::as_str))?;
    let base = format!("lib/modules/{}", kernel.release());
    let builtin = kernel.modules_directory().join("modules.builtin");

    let mut contents = vec![
        (
            "init".to_owned(),
            0o755,
            fs::read(agent).map_err(at(agent))?,
        ),
        (
            format!("{base}/modules.dep"),
            0o644,
            modules.dep_lines(&files).into_bytes(),
        ),
        (
            format!("{base}/modules.builtin"),
            0o644,
            fs::read(&builtin).map_err(at(&builtin))?,
        ),
    ];
    for file in &files {
        contents.push((format!("{base}/{file}"), 0o644, kernel.module(file)?));
    }
    pack(&contents)
        .and_then(|archive| fs::write(path, archive))
        .map_err(at(path))
}

fn pack(contents: &[(String, u32, Vec<u8>)]) -> std::io::Result<Vec<u8>> {
    let mut directories: BTreeSet<&str> = DIRECTORIES.iter().copied().collect();
    for (path, ..) in contents {
        let parents = path.match_indices('/').map(|(end, _)| &path[..end]);
        directories.extend(parents);
    }
    let mut archive = Archive::new(Vec::new());
    for directory in directories {
        archive.directory(directory)?;
    }
    // The kernel opens it for PID 1 before anything is mounted.
    archive.char_device("dev/console", 5, 1)?;
    for (path, permissions, data) in contents {
        archive.file(path, *permissions, data)?;
    }
    archive.finish()
}
