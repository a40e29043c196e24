//! Open files.

use std::collections::HashMap;
use std::fs::{File, FileTimes, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{FlockOperation, flock};
use serde::Deserialize;
use serde_json::{Value, json};

use super::blocking;
use super::directories::Time;
use super::info::info;
use crate::connection::read;
use crate::state::State;
use crate::wire::{Answer, Error, Failure};

/// Files that a client may have open.
const MOST: usize = 1024;
/// Bytes that are read at once, whatever is asked for: a read may give less than that.
const MOST_READ: u64 = 8 << 20;

/// The open files of a client. Each is used by one request at a time.
#[derive(Default)]
pub(crate) struct Handles(Mutex<Files>);

#[derive(Default)]
struct Files {
    open: HashMap<u64, Arc<Mutex<File>>>,
    next: u64,
}

impl Handles {
    fn add(&self, file: File) -> Result<u64, Error> {
        let mut files = self.files();
        if files.open.len() >= MOST {
            let text = format!("{MOST} files are open; close some first");
            return Err(Error::new("Error", text).with_code("EMFILE"));
        }
        let id = files.next;
        files.next += 1;
        files.open.insert(id, Arc::new(Mutex::new(file)));
        Ok(id)
    }

    fn find(&self, id: u64) -> Result<Arc<Mutex<File>>, Error> {
        self.files().open.get(&id).cloned().ok_or_else(|| bad(id))
    }

    fn remove(&self, id: u64) -> Result<(), Error> {
        self.files()
            .open
            .remove(&id)
            .map(drop)
            .ok_or_else(|| bad(id))
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bad(id: u64) -> Error {
    Error::new("BadResource", format!("file {id} is not open")).with_code("EBADF")
}

#[derive(Deserialize)]
struct Open {
    path: PathBuf,
    options: Option<Options>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Options {
    read: Option<bool>,
    write: Option<bool>,
    append: Option<bool>,
    truncate: Option<bool>,
    create: Option<bool>,
    create_new: Option<bool>,
    mode: Option<u32>,
}

/// What the requests about an open file have, each some of it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfOne {
    file_handle_id: u64,
    #[serde(default)]
    length: Option<u64>,
    #[serde(default)]
    data: Option<String>,
    #[serde(default)]
    offset: Option<Offset>,
    #[serde(default)]
    whence: Option<u8>,
    /// JavaScript's name of a length.
    #[serde(default)]
    len: Option<u64>,
    /// Python's.
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    exclusive: Option<bool>,
    #[serde(default)]
    atime: Option<Time>,
    #[serde(default)]
    mtime: Option<Time>,
}

/// A number, or a large one in a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Offset {
    Number(i64),
    Text(String),
}

pub(super) async fn call(state: &State, method: &str, params: &str) -> Answer {
    match method {
        "open" | "create" => open(state, method, read(params)?).await,
        "fileClose" => {
            let asked: OfOne = read(params)?;
            state.handles.remove(asked.file_handle_id)?;
            Ok(Value::Null)
        }
        "fileRead" | "fileWrite" | "fileSeek" | "fileStat" | "fileSync" | "fileSyncData"
        | "fileTruncate" | "fileLock" | "fileUnlock" | "fileUtime" => {
            let asked: OfOne = read(params)?;
            let file = state.handles.find(asked.file_handle_id)?;
            let method = method.to_owned();
            blocking(move || {
                let locks = method.ends_with("ock");
                if locks {
                    // May wait for another one, who may be of this client: nothing else waits for it.
                    let file = file
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .try_clone();
                    let file = file.map_err(|error| Error::io(&error, "lock"))?;
                    return lock(&file, &method, &asked);
                }
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                act(&mut file, &method, &asked)
            })
            .await
        }
        _ => Err(Failure::UnknownMethod),
    }
}

async fn open(state: &State, method: &str, asked: Open) -> Answer {
    let mut options = OpenOptions::new();
    match asked.options {
        _ if method == "create" => {
            options.read(true).write(true).create(true).truncate(true);
        }
        // As Deno does: without options to read.
        None => drop(options.read(true)),
        Some(asked) => {
            let is = |option: Option<bool>| option.unwrap_or(false);
            let none = [asked.read, asked.write, asked.append]
                .iter()
                .all(|o| !is(*o));
            options
                .read(is(asked.read) || none)
                .write(is(asked.write))
                .append(is(asked.append))
                .truncate(is(asked.truncate))
                .create(is(asked.create))
                .create_new(is(asked.create_new));
            options.mode(asked.mode.unwrap_or(0o666));
        }
    }
    let path = asked.path;
    let opened = blocking(move || {
        let opened = options.open(&path);
        opened.map_err(|error| Error::path(&error, "open", &path))
    });
    let id = state.handles.add(opened.await?)?;
    Ok(json!({"fileHandleId": id}))
}

fn act(file: &mut File, method: &str, asked: &OfOne) -> Result<Value, Error> {
    let failed = |error: std::io::Error| Error::io(&error, method);
    let missing = |what: &str| Error::type_error(format!("{method}: {what} is missing"));
    match method {
        "fileRead" => {
            let length = asked.length.ok_or_else(|| missing("length"))?;
            let mut bytes = vec![0; usize::try_from(length.min(MOST_READ)).unwrap_or(0)];
            let read = file.read(&mut bytes).map_err(failed)?;
            bytes.truncate(read);
            // Nothing at all is the end; no bytes are none that were asked for.
            let over = read == 0 && length > 0;
            Ok(json!({"data": (!over).then(|| STANDARD.encode(&bytes))}))
        }
        "fileWrite" => {
            let data = asked.data.as_ref().ok_or_else(|| missing("data"))?;
            let bytes = STANDARD.decode(data);
            let bytes = bytes.map_err(|_| Error::type_error("the data is no base64"))?;
            let written = file.write(&bytes).map_err(failed)?;
            Ok(json!({"bytesWritten": written}))
        }
        "fileSeek" => {
            let offset = asked.offset.as_ref().ok_or_else(|| missing("offset"))?;
            let to = offset.from(asked.whence.unwrap_or(0))?;
            Ok(json!({"position": file.seek(to).map_err(failed)?}))
        }
        "fileStat" => Ok(info(&file.metadata().map_err(failed)?)),
        "fileSync" => file.sync_all().map_err(failed).map(|()| Value::Null),
        "fileSyncData" => file.sync_data().map_err(failed).map(|()| Value::Null),
        "fileTruncate" => {
            let length = asked.len.or(asked.size).unwrap_or(0);
            file.set_len(length).map_err(failed).map(|()| Value::Null)
        }
        _ => {
            let (atime, mtime) = (asked.atime.as_ref(), asked.mtime.as_ref());
            let times = FileTimes::new()
                .set_accessed(atime.ok_or_else(|| missing("atime"))?.read()?)
                .set_modified(mtime.ok_or_else(|| missing("mtime"))?.read()?);
            file.set_times(times).map_err(failed).map(|()| Value::Null)
        }
    }
}

fn lock(file: &File, method: &str, asked: &OfOne) -> Result<Value, Error> {
    let how = match (method, asked.exclusive) {
        ("fileUnlock", _) => FlockOperation::Unlock,
        (_, Some(true)) => FlockOperation::LockExclusive,
        _ => FlockOperation::LockShared,
    };
    flock(file, how).map_err(|errno| Error::io(&errno.into(), method))?;
    Ok(Value::Null)
}

impl Offset {
    fn from(&self, whence: u8) -> Result<SeekFrom, Error> {
        let wrong = || Error::type_error("there is no such place in a file");
        let offset = match self {
            Self::Number(number) => *number,
            Self::Text(text) => text.parse().map_err(|_| wrong())?,
        };
        match whence {
            0 => u64::try_from(offset)
                .map(SeekFrom::Start)
                .map_err(|_| wrong()),
            1 => Ok(SeekFrom::Current(offset)),
            2 => Ok(SeekFrom::End(offset)),
            _ => Err(wrong()),
        }
    }
}
