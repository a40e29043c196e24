//! The default image with one part exchanged.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::Context;
use images::cpio::Archive;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The variant's name.
pub const NAME: &str = "variant";

/// A newc archive begins at a multiple of this many bytes.
const ALIGNMENT: usize = 4;

/// Makes the image [`NAME`] in the directory `to`: the one in `from` with `agent` as its `/init`.
///
/// # Errors
/// When the image is not as documented, or files cannot be written.
pub fn with_agent(from: &Path, agent: &Path, to: &Path) -> crate::Result {
    variant(from, to, |directory, image| {
        let file = image.pointer("/initramfs/file").and_then(Value::as_str);
        let file = directory.join(file.context("image.json names no initramfs")?);
        let bytes = initramfs(fs::read(&file)?, &fs::read(agent)?)?;
        replace(&file, &bytes)?;
        image["initramfs"]["size"] = json!(bytes.len());
        let digest = Sha256::digest(&bytes);
        let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        image["initramfs"]["sha256"] = json!(digits);
        Ok(())
    })
}

/// Makes the image [`NAME`] in the directory `to`: the one in `from` with its compressed kernel.
///
/// # Errors
/// When the image has none, or files cannot be written.
pub fn with_bzimage(from: &Path, to: &Path) -> crate::Result {
    variant(from, to, |_, image| {
        let compressed = image.get("kernel_bzimage").context("no bzImage")?;
        image["kernel"] = compressed.clone();
        Ok(())
    })
}

/// Links to all files, and a description that `change` has changed.
fn variant(
    from: &Path,
    to: &Path,
    change: impl FnOnce(&PathBuf, &mut Value) -> crate::Result,
) -> crate::Result {
    let directory = to.join(NAME);
    fs::create_dir(&directory)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        symlink(entry.path(), directory.join(entry.file_name()))?;
    }
    let description = directory.join("image.json");
    let mut image: Value = serde_json::from_slice(&fs::read(&description)?)?;
    image["name"] = json!(NAME);
    change(&directory, &mut image)?;
    replace(&description, &serde_json::to_vec_pretty(&image)?)
}

/// Puts a file in the place of a link.
fn replace(path: &Path, bytes: &[u8]) -> crate::Result {
    fs::remove_file(path)?;
    Ok(fs::write(path, bytes)?)
}

/// The kernel unpacks archives one after the other, and the last `/init` wins.
fn initramfs(mut original: Vec<u8>, init: &[u8]) -> crate::Result<Vec<u8>> {
    original.resize(original.len().next_multiple_of(ALIGNMENT), 0);
    let mut archive = Archive::new(original);
    archive.file("/init", 0o755, init)?;
    Ok(archive.finish()?)
}
