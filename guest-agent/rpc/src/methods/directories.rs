//! Paths: directories, links, and what is told and changed of files without opening them.

use std::fs;
use std::io;
use std::os::unix::fs::{self as unix, DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::sys::stat::{Mode, umask};
use serde::Deserialize;
use serde_json::{Value, json};

use super::blocking;
use super::info::info;
use crate::connection::read;
use crate::wire::{Answer, Error, Failure};

/// Entries of a directory that is answered as a whole.
const MOST_ENTRIES: usize = 200_000;

/// What the requests about paths have, each some of it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    #[serde(default)]
    path: PathBuf,
    #[serde(default)]
    old_path: PathBuf,
    #[serde(default)]
    new_path: PathBuf,
    #[serde(default)]
    from_path: PathBuf,
    #[serde(default)]
    to_path: PathBuf,
    #[serde(default)]
    target: PathBuf,
    #[serde(default)]
    name: PathBuf,
    #[serde(default)]
    mode: u32,
    #[serde(default)]
    uid: Option<u32>,
    #[serde(default)]
    gid: Option<u32>,
    #[serde(default)]
    length: Option<u64>,
    #[serde(default)]
    mask: Option<u32>,
    #[serde(default)]
    atime: Option<Time>,
    #[serde(default)]
    mtime: Option<Time>,
    #[serde(default)]
    options: Option<Options>,
}

#[derive(Default, Deserialize)]
struct Options {
    #[serde(default)]
    recursive: Option<bool>,
    #[serde(default)]
    mode: Option<u32>,
    #[serde(default)]
    dir: Option<PathBuf>,
    #[serde(default)]
    prefix: Option<String>,
    #[serde(default)]
    suffix: Option<String>,
}

/// A time: JavaScript's text, or seconds since 1970.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Time {
    Text(String),
    Seconds(f64),
}

impl Time {
    pub(super) fn read(&self) -> Result<SystemTime, Error> {
        let wrong = || Error::new("RangeError", "there is no such time");
        match self {
            Self::Text(text) => humantime::parse_rfc3339_weak(text).map_err(|_| wrong()),
            Self::Seconds(seconds) => {
                let since = Duration::try_from_secs_f64(*seconds).map_err(|_| wrong())?;
                SystemTime::UNIX_EPOCH.checked_add(since).ok_or_else(wrong)
            }
        }
    }
}

pub(super) async fn call(method: &str, params: &str) -> Answer {
    let known = [
        "readDir",
        "remove",
        "mkdir",
        "rename",
        "stat",
        "lstat",
        "chmod",
        "chown",
        "copyFile",
        "link",
        "symlink",
        "readLink",
        "realPath",
        "makeTempDir",
        "makeTempFile",
        "truncate",
        "umask",
        "utime",
    ];
    let Some(method) = known.into_iter().find(|known| *known == method) else {
        return Err(Failure::UnknownMethod);
    };
    let asked: Asked = read(params)?;
    blocking(move || act(method, asked)).await
}

fn act(method: &'static str, asked: Asked) -> Result<Value, Error> {
    let path = &asked.path;
    let options = asked.options.unwrap_or_default();
    let recursive = options.recursive.unwrap_or(false);
    let at = |path: &Path, done: io::Result<()>| {
        let done = done.map_err(|error| Error::path(&error, method, path));
        done.map(|()| Value::Null)
    };
    match method {
        "readDir" => read_dir(path),
        "remove" => at(path, remove(path, recursive)),
        "mkdir" => {
            let mut builder = fs::DirBuilder::new();
            builder
                .recursive(recursive)
                .mode(options.mode.unwrap_or(0o777));
            at(path, builder.create(path))
        }
        "rename" => at(
            &asked.old_path,
            fs::rename(&asked.old_path, &asked.new_path),
        ),
        "stat" | "lstat" => {
            let metadata = match method {
                "stat" => fs::metadata(path),
                _ => fs::symlink_metadata(path),
            };
            metadata
                .map(|metadata| info(&metadata))
                .map_err(|error| Error::path(&error, method, path))
        }
        "chmod" => at(
            path,
            fs::set_permissions(path, fs::Permissions::from_mode(asked.mode & 0o7777)),
        ),
        "chown" => at(path, unix::chown(path, asked.uid, asked.gid)),
        "copyFile" => {
            let copied = fs::copy(&asked.from_path, &asked.to_path);
            at(&asked.from_path, copied.map(drop))
        }
        "link" => at(path, fs::hard_link(&asked.target, path)),
        "symlink" => at(path, unix::symlink(&asked.target, path)),
        "readLink" => fs::read_link(path)
            .map(|target| json!(target.to_string_lossy()))
            .map_err(|error| Error::path(&error, method, path)),
        "realPath" => fs::canonicalize(path)
            .map(|real| json!(real.to_string_lossy()))
            .map_err(|error| Error::path(&error, method, path)),
        "makeTempDir" | "makeTempFile" => temporary(method, &options),
        "truncate" => {
            let file = fs::OpenOptions::new().write(true).open(&asked.name);
            let done = file.and_then(|file| file.set_len(asked.length.unwrap_or(0)));
            at(&asked.name, done)
        }
        "umask" => Ok(json!(mask(asked.mask))),
        _ => {
            let missing = || Error::type_error("utime: a time is missing");
            let accessed = asked.atime.as_ref().ok_or_else(missing)?.read()?;
            let modified = asked.mtime.as_ref().ok_or_else(missing)?.read()?;
            let times = fs::FileTimes::new()
                .set_accessed(accessed)
                .set_modified(modified);
            at(
                path,
                fs::File::open(path).and_then(|file| file.set_times(times)),
            )
        }
    }
}

fn read_dir(path: &Path) -> Result<Value, Error> {
    let failed = |error| Error::path(&error, "readdir", path);
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        if entries.len() >= MOST_ENTRIES {
            return Err(Error::new(
                "RangeError",
                "the directory has too many entries; walk it",
            ));
        }
        entries.push(json!({
            "name": entry.file_name().to_string_lossy(),
            "isFile": kind.is_file(),
            "isDirectory": kind.is_dir(),
            "isSymlink": kind.is_symlink(),
        }));
    }
    Ok(entries.into())
}

fn remove(path: &Path, recursive: bool) -> io::Result<()> {
    match (fs::symlink_metadata(path)?.is_dir(), recursive) {
        (true, true) => fs::remove_dir_all(path),
        (true, false) => fs::remove_dir(path),
        (false, _) => fs::remove_file(path),
    }
}

fn temporary(method: &str, options: &Options) -> Result<Value, Error> {
    let directory = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let (prefix, suffix) = (options.prefix.as_deref(), options.suffix.as_deref());
    let parts = [prefix, suffix].into_iter().flatten();
    if parts.into_iter().any(|part| part.contains(['/', '\0'])) {
        return Err(Error::type_error(
            "a prefix or suffix is no part of a file's name",
        ));
    }
    let mut builder = tempfile::Builder::new();
    builder
        .prefix(prefix.unwrap_or_default())
        .suffix(suffix.unwrap_or_default())
        .rand_bytes(8);
    // Whoever asked for it removes it.
    builder.disable_cleanup(true);
    let made = match method {
        "makeTempDir" => builder.tempdir_in(&directory).map(|made| made.keep()),
        _ => builder
            .tempfile_in(&directory)
            .map(|made| made.into_temp_path().to_path_buf()),
    };
    let made = made.map_err(|error| Error::path(&error, method, &directory))?;
    Ok(json!(made.to_string_lossy()))
}

/// Sets the mask of files that are made from now on, here and by programs that are started; tells the one before.
fn mask(new: Option<u32>) -> u32 {
    let before = umask(Mode::from_bits_truncate(new.unwrap_or(0o022) & 0o777));
    if new.is_none() {
        umask(before);
    }
    before.bits()
}
