//! Keeps what is slow to build. An entry is a directory `NAME-KEY` with a list of its files'
//! digests; `KEY` is a digest of what it is made from.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

use crate::{digest, progress};

/// The list of files and their digests, written last: an entry without it is half built.
const LIST: &str = ".digests.json";
/// Digits of a key that are part of an entry's name.
const KEY_DIGITS: usize = 16;

/// Returns the directory of entry `name` made from `inputs`; builds it with `build` when it is
/// missing or its files are not what they were. Entries of that name made from other inputs go.
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
    remove_others(cache, name)?;
    let work = cache.join(format!("{name}-new"));
    fs::create_dir(&work)?;
    build(&work).with_context(|| format!("cannot build {name}"))?;
    let list = serde_json::to_vec_pretty(&digests(&work)?)?;
    fs::write(work.join(LIST), list)?;
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
    let file = File::create(cache.join("lock"))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .context("cannot lock the cache directory")
}

fn is_intact(directory: &Path) -> bool {
    let Ok(list) = fs::read(directory.join(LIST)) else {
        return false;
    };
    let Ok(expected) = serde_json::from_slice::<BTreeMap<String, String>>(&list) else {
        return false;
    };
    digests(directory).is_ok_and(|found| found == expected)
}

fn remove_others(cache: &Path, name: &str) -> io::Result<()> {
    for entry in fs::read_dir(cache)? {
        let entry = entry?;
        let file_name = entry.file_name();
        let rest = file_name
            .to_str()
            .and_then(|file| file.strip_prefix(name)?.strip_prefix('-'));
        let is_key = |rest: &str| {
            rest == "new"
                || rest.len() == KEY_DIGITS && rest.bytes().all(|digit| digit.is_ascii_hexdigit())
        };
        if rest.is_some_and(is_key) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Every regular file below `directory`, but for the list itself, with its digest.
fn digests(directory: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in fs::read_dir(next)? {
            let entry = entry?;
            let path = entry.path();
            let kind = entry.file_type()?;
            if kind.is_dir() {
                pending.push(path);
            } else if kind.is_file() && entry.file_name() != LIST {
                let name = path.strip_prefix(directory).unwrap_or(&path);
                found.insert(name.to_string_lossy().into_owned(), digest::of_file(&path)?);
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
        let other = entry(cache.path(), "thing", &["b"], write("3")).unwrap();
        assert!(other != first && !first.exists());
    }
}
