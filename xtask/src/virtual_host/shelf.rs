//! The shelf: a disk of the virtual host that only grows.
//!
//! A set of files is packed as an ext4 file system behind the sets that are there already, and
//! mounted from there, so that a running virtual host gets new build products without a restart
//! and without a network. ext4, because a set may hold sparse files, and these stay sparse.
//!
//! ```text
//! │ set 0 │ gap │ set 1 │ gap │ …                    (SIZE)
//! ```

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use images::command::{command, run};
use serde::{Deserialize, Serialize};

use crate::{digest, products::Set};

/// Size of the disk in bytes. It is sparse: only what is on it takes space.
const SIZE: u64 = 256 << 30;
/// Sets start at multiples of this. The gap that follows each set is as large: the guest may have
/// read ahead beyond the end of the last set, but not as far as the start of the next.
const ALIGNMENT: u64 = 16 << 20;
/// What ext4 needs beside the content of files, at least.
const OVERHEAD: u64 = 16 << 20;

/// Where a set lies.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Slot {
    /// Which set this is.
    pub key: String,
    /// Bytes from the disk's start.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// The disk's file and what is on it.
#[derive(Debug)]
pub struct Shelf {
    disk: PathBuf,
    list: PathBuf,
}

impl Shelf {
    /// The shelf in `directory`.
    pub fn new(directory: &Path) -> Self {
        Self {
            disk: directory.join("shelf.raw"),
            list: directory.join("shelf.json"),
        }
    }

    /// The disk's file.
    pub fn disk(&self) -> &Path {
        &self.disk
    }

    /// Empties the shelf. Only while no virtual host uses it.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn clear(&self) -> Result<()> {
        fs::write(&self.list, "[]")?;
        File::create(&self.disk)?
            .set_len(SIZE)
            .context("cannot make the shelf disk")
    }

    /// Returns where `set` is; puts it there when it is not. The caller holds the lock of the
    /// virtual host.
    ///
    /// # Errors
    /// When a file of the set cannot be read, or the disk is full.
    pub fn put(&self, set: &Set) -> Result<Slot> {
        let mut slots: Vec<Slot> = serde_json::from_slice(&fs::read(&self.list)?)?;
        let key = key(set)?;
        if let Some(slot) = slots.iter().find(|slot| slot.key == key) {
            return Ok(slot.clone());
        }
        let offset = slots.last().map_or(0, |last| {
            (last.offset + last.length + ALIGNMENT).next_multiple_of(ALIGNMENT)
        });
        let length = self.pack(set, offset)?;
        let slot = Slot {
            key,
            offset,
            length,
        };
        slots.push(slot.clone());
        fs::write(&self.list, serde_json::to_vec_pretty(&slots)?)?;
        Ok(slot)
    }

    /// Writes a file system with `set` at `offset` and returns its size in bytes.
    fn pack(&self, set: &Set, offset: u64) -> Result<u64> {
        let parent = self.disk.parent().context("the shelf has no directory")?;
        let staging = tempfile::tempdir_in(parent)?;
        let mut content = 0;
        for (name, source) in set {
            content += stage(source, &staging.path().join(name))
                .with_context(|| format!("cannot take {}", source.display()))?;
        }
        let length = (content + content / 16 + OVERHEAD).next_multiple_of(ALIGNMENT);
        let mut mke2fs = command("mke2fs");
        mke2fs
            .args([
                "-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-N", "4096",
            ])
            .args(["-O", "^has_journal,^resize_inode"])
            .args(["-E", &format!("offset={offset},root_owner=0:0,nodiscard")])
            .arg("-d")
            .arg(staging.path())
            .arg(&self.disk)
            .arg(format!("{}k", length / 1024));
        run(&mut mke2fs)?;
        Ok(length)
    }
}

/// Puts a file, or a directory with all in it, at `target`; returns the bytes that it takes.
fn stage(source: &Path, target: &Path) -> Result<u64> {
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    let found = fs::metadata(source)?;
    if found.is_dir() {
        fs::create_dir_all(target)?;
        let mut bytes = 4096;
        for entry in fs::read_dir(source)? {
            let entry = entry?;
            bytes += stage(&entry.path(), &target.join(entry.file_name()))?;
        }
        return Ok(bytes);
    }
    // A link costs nothing, but works within one file system only.
    if fs::hard_link(source, target).is_err() {
        run(command("cp").arg("--sparse=always").arg(source).arg(target))?;
    }
    Ok((found.blocks() * 512).next_multiple_of(4096) + 4096)
}

/// Names a set by its files' paths, sizes and times of change, which is as good as their content
/// for what a compiler has just written, and faster.
fn key(set: &Set) -> Result<String> {
    let mut parts = Vec::new();
    for (name, source) in set {
        describe(name, source, &mut parts)?;
    }
    Ok(digest::of_parts(parts.iter().map(String::as_str))[..16].to_owned())
}

fn describe(name: &str, source: &Path, parts: &mut Vec<String>) -> Result<()> {
    let found =
        fs::metadata(source).with_context(|| format!("there is no {}", source.display()))?;
    if found.is_dir() {
        let mut entries = fs::read_dir(source)?.collect::<std::io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            describe(
                &format!("{name}/{}", entry.file_name().to_string_lossy()),
                &path,
                parts,
            )?;
        }
    } else {
        let (size, seconds, nanos) = (found.len(), found.mtime(), found.mtime_nsec());
        parts.push(format!(
            "{name} {:o} {size} {seconds}.{nanos} {}",
            found.mode(),
            found.ino()
        ));
    }
    Ok(())
}
