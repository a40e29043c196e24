//! Keeps what is slow to build. An entry is a directory `NAME-KEY` with a list of its files and
//! their digests; `KEY` is a digest of what it is made from.
//!
//! A file whose size and time of change are the noted ones is taken to be what it was, as make
//! and cargo do. Any other, for example after a CI cache was unpacked, has its digest checked.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::{digest, progress};

/// The list of files and their digests, written last: an entry without it is half built.
const LIST: &str = ".digests.json";
/// Digits of a key that are part of an entry's name.
const KEY_DIGITS: usize = 16;

/// Returns the directory of entry `name` made from `inputs`; builds it with `build` when it is
/// missing or its files are not what they were. Of the entries of that name made from other inputs
/// the newest stays, because something that runs may still use it; the others go.
///
/// # Errors
/// What `build` returns, and failures of the file system.
pub fn entry(
    cache: &Path,
    name: &str,
    inputs: &[&str],
    build: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let key = digest::of_parts(inputs.iter().copied());
    let directory = cache.join(format!("{name}-{}", &key[..KEY_DIGITS]));
    if is_intact(&directory) {
        return Ok(directory);
    }
    let step = progress::step(format!("building {name}"));
    // A damaged one is in the way of the new one.
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    remove_others(cache, name)?;
    let work = cache.join(format!("{name}-new"));
    fs::create_dir(&work)?;
    build(&work).with_context(|| format!("cannot build {name}"))?;
    write_list(&work)?;
    fs::rename(&work, &directory)?;
    step.done();
    Ok(directory)
}

/// Orders the callers of one cache directory: held while something is built in it, and while a
/// host is started, changed or stopped. Entries are to be asked for with this lock held.
///
/// # Errors
/// When the lock's file cannot be made.
pub fn lock(cache: &Path) -> Result<Flock<File>> {
    lock_file(cache, "lock")
}

/// Orders those who take the default image's snapshot, which is longer than [`lock`] is to be held.
///
/// # Errors
/// When the lock's file cannot be made.
pub fn lock_snapshots(cache: &Path) -> Result<Flock<File>> {
    lock_file(cache, "snapshots.lock")
}

fn lock_file(cache: &Path, name: &str) -> Result<Flock<File>> {
    let file = File::create(cache.join(name))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .context("cannot lock the cache directory")
}

/// What the list says of a file.
#[derive(Debug, Deserialize, Serialize)]
struct Noted {
    bytes: u64,
    changed: (i64, i64),
    digest: String,
}

impl Noted {
    fn matches(&self, path: &Path) -> io::Result<bool> {
        let found = path.metadata()?;
        if found.len() != self.bytes {
            return Ok(false);
        }
        let changed = (found.mtime(), found.mtime_nsec());
        Ok(changed == self.changed || digest::of_file(path)? == self.digest)
    }
}

fn is_intact(directory: &Path) -> bool {
    let Ok(list) = fs::read(directory.join(LIST)) else {
        return false;
    };
    let Ok(noted) = serde_json::from_slice::<BTreeMap<String, Noted>>(&list) else {
        return false;
    };
    let intact =
        |(name, noted): (&String, &Noted)| noted.matches(&directory.join(name)).unwrap_or(false);
    noted.iter().all(intact)
}

fn write_list(directory: &Path) -> Result<()> {
    let mut list = BTreeMap::new();
    for path in files(directory)? {
        let found = path.metadata()?;
        let name = path
            .strip_prefix(directory)?
            .to_str()
            .context("a file name is not UTF-8")?;
        let changed = (found.mtime(), found.mtime_nsec());
        let noted = Noted {
            bytes: found.len(),
            changed,
            digest: digest::of_file(&path)?,
        };
        list.insert(name.to_owned(), noted);
    }
    Ok(fs::write(directory.join(LIST), serde_json::to_vec(&list)?)?)
}

fn remove_others(cache: &Path, name: &str) -> io::Result<()> {
    let mut others = Vec::new();
    for entry in fs::read_dir(cache)? {
        let entry = entry?;
        let file_name = entry.file_name();
        let rest = file_name
            .to_str()
            .and_then(|file| file.strip_prefix(name)?.strip_prefix('-'));
        let is_key = |rest: &str| {
            rest.len() == KEY_DIGITS && rest.bytes().all(|digit| digit.is_ascii_hexdigit())
        };
        if rest == Some("new") {
            fs::remove_dir_all(entry.path())?;
        } else if rest.is_some_and(is_key) {
            others.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    others.sort();
    others.pop();
    for (_, path) in others {
        fs::remove_dir_all(path)?;
    }
    Ok(())
}

/// Every regular file below `directory`.
fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in fs::read_dir(next)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                pending.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(content: &'static str) -> impl FnOnce(&Path) -> Result<()> {
        move |directory| Ok(fs::write(directory.join("file"), content)?)
    }

    #[test]
    fn an_entry_is_built_once_per_input_and_again_when_damaged() {
        let cache = tempfile::tempdir().unwrap();
        let read = |directory: PathBuf| fs::read_to_string(directory.join("file")).unwrap();
        let first = entry(cache.path(), "thing", &["a"], write("1")).unwrap();
        assert_eq!(
            entry(cache.path(), "thing", &["a"], write("2")).unwrap(),
            first
        );
        assert_eq!(read(first.clone()), "1");
        fs::write(first.join("file"), "damaged").unwrap();
        assert_eq!(
            read(entry(cache.path(), "thing", &["a"], write("2")).unwrap()),
            "2"
        );
        let second = entry(cache.path(), "thing", &["b"], write("3")).unwrap();
        assert!(second != first && first.exists());
        let third = entry(cache.path(), "thing", &["c"], write("4")).unwrap();
        assert!(third.exists() && second.exists() && !first.exists());
    }
}
