//! The default image with another program in place of its agent.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::Context;
use images::cpio::Archive;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The variant's name.
pub const NAME: &str = "fake";

/// A newc archive begins at a multiple of this many bytes.
const ALIGNMENT: usize = 4;

/// Makes the image [`NAME`] in the directory `to`: the one in `from` with `agent` as its `/init`.
pub fn with_agent(from: &Path, agent: &Path, to: &Path) -> crate::Result {
    let directory = to.join(NAME);
    fs::create_dir(&directory)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        symlink(entry.path(), directory.join(entry.file_name()))?;
    }
    let description = directory.join("image.json");
    let mut image: Value = serde_json::from_slice(&fs::read(&description)?)?;

    let file = image.pointer("/initramfs/file").and_then(Value::as_str);
    let file = directory.join(file.context("image.json names no initramfs")?);
    let bytes = initramfs(fs::read(&file)?, &fs::read(agent)?)?;
    fs::remove_file(&file)?;
    fs::write(&file, &bytes)?;

    image["name"] = json!(NAME);
    image["initramfs"]["size"] = json!(bytes.len());
    let digest = Sha256::digest(&bytes);
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    image["initramfs"]["sha256"] = json!(digits);
    fs::remove_file(&description)?;
    Ok(fs::write(&description, serde_json::to_vec_pretty(&image)?)?)
}

/// The kernel unpacks archives one after the other, and the last `/init` wins.
fn initramfs(mut original: Vec<u8>, init: &[u8]) -> crate::Result<Vec<u8>> {
    original.resize(original.len().next_multiple_of(ALIGNMENT), 0);
    let mut archive = Archive::new(original);
    archive.file("/init", 0o755, init)?;
    Ok(archive.finish()?)
}
