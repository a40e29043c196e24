//! Copies of a snapshot, and what can happen to them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;
use tempfile::TempDir;

/// A store that holds one snapshot, whose files may be damaged.
#[derive(Debug)]
pub struct Copy {
    store: TempDir,
    id: String,
}

impl Copy {
    /// Copies the snapshot with this id out of a store.
    pub fn of(store: &Path, id: &str) -> crate::Result<Self> {
        let to = tempfile::Builder::new().prefix("thaw-copy-").tempdir()?;
        // cp(1) keeps the holes: a disk's layer is as long as the disk and has little in it.
        let copied = Command::new("cp")
            .args(["--recursive", "--sparse=auto"])
            .args([store.join(id).as_path(), to.path()])
            .output()?;
        let why = String::from_utf8_lossy(&copied.stderr);
        ensure!(copied.status.success(), "{why}");
        Ok(Self {
            store: to,
            id: id.to_owned(),
        })
    }

    /// The snapshot's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The store.
    pub fn store(&self) -> &Path {
        self.store.path()
    }

    /// One of its files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.store.path().join(&self.id).join(name)
    }

    /// How long one of its files is.
    pub fn len(&self, name: &str) -> crate::Result<u64> {
        Ok(fs::metadata(self.file(name))?.len())
    }

    /// Cuts a file off after `len` bytes.
    pub fn truncate(&self, name: &str, len: u64) -> crate::Result {
        let file = File::options().write(true).open(self.file(name))?;
        Ok(file.set_len(len)?)
    }

    /// Flips the lowest bit of one byte. Doing so again repairs it.
    pub fn flip(&self, name: &str, offset: u64) -> crate::Result {
        let file = File::options()
            .read(true)
            .write(true)
            .open(self.file(name))?;
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset)?;
        Ok(file.write_all_at(&byte.map(|byte| byte ^ 1), offset)?)
    }

    /// Changes the manifest and gives it the digest that fits:
    /// `{"blake3":"<digits>","manifest":<content>}\n`.
    pub fn rewrite_manifest(&self, change: impl FnOnce(&mut Value)) -> crate::Result {
        let path = self.file("manifest.json");
        let mut envelope: Value = serde_json::from_slice(&fs::read(&path)?)?;
        let manifest = envelope
            .get_mut("manifest")
            .context("no manifest in the envelope")?;
        change(manifest);
        let content = serde_json::to_string_pretty(manifest)?;
        let digest = blake3::hash(content.as_bytes()).to_hex();
        let text = format!("{{\"blake3\":\"{digest}\",\"manifest\":{content}}}\n");
        Ok(fs::write(path, text)?)
    }

    /// The same bytes again, for a test of the test: rewriting without a change is no damage.
    pub fn rewrite_is_sound(&self) -> crate::Result {
        let path = self.file("manifest.json");
        let before: Value = serde_json::from_slice(&fs::read(&path)?)?;
        self.rewrite_manifest(|_| {})?;
        let after: Value = serde_json::from_slice(&fs::read(&path)?)?;
        ensure!(
            before["manifest"] == after["manifest"],
            "rewriting changed the manifest"
        );
        Ok(())
    }
}
