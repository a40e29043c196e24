//! Files as a whole.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{abortable, blocking};
use crate::connection::{MAX_MESSAGE, read};
use crate::state::State;
use crate::wire::{Answer, Error, Failure};

/// Bytes of a file that is answered as a whole: with base64 and all it is one message.
const MAX_WHOLE: u64 = (MAX_MESSAGE as u64 / 4) * 3 - 4096;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read {
    path: PathBuf,
    abort_id: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Write {
    path: PathBuf,
    abort_id: Option<u64>,
    options: Option<Options>,
    content: Option<String>,
    content_stream_id: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Options {
    append: Option<bool>,
    create: Option<bool>,
    create_new: Option<bool>,
    mode: Option<u32>,
}

pub(super) async fn call(state: &State, method: &str, params: &str) -> Answer {
    match method {
        "readFile" | "readTextFile" => {
            let Read { path, abort_id } = read(params)?;
            let text = method == "readTextFile";
            abortable(state, abort_id, read_whole(path, text)).await
        }
        "writeFile" | "writeTextFile" => {
            let asked: Write = read(params)?;
            let (abort_id, text) = (asked.abort_id, method == "writeTextFile");
            abortable(state, abort_id, write_whole(state, asked, text)).await
        }
        _ => Err(Failure::UnknownMethod),
    }
}

async fn read_whole(path: PathBuf, text: bool) -> Answer {
    blocking(move || {
        let failed = |error| Error::path(&error, "open", &path);
        let file = std::fs::File::open(&path).map_err(failed)?;
        let mut bytes = Vec::new();
        let mut limited = std::io::Read::take(file, MAX_WHOLE + 1);
        std::io::Read::read_to_end(&mut limited, &mut bytes).map_err(failed)?;
        if bytes.len() as u64 > MAX_WHOLE {
            let text = "the file is too large to be read as a whole; open it and read it in parts";
            return Err(Error::new("RangeError", text));
        }
        Ok(match text {
            // As a TextDecoder does: what is no text becomes U+FFFD.
            true => json!(String::from_utf8_lossy(&bytes)),
            false => json!(STANDARD.encode(bytes)),
        })
    })
    .await
}

async fn write_whole(state: &State, asked: Write, text: bool) -> Answer {
    let (path, options) = (asked.path, asked.options.unwrap_or_default());
    let mut file = {
        let path = path.clone();
        blocking(move || options.open(&path)).await?
    };
    let put = async |bytes: Bytes| {
        let (mut handle, path) = (file.try_clone(), path.clone());
        blocking(move || {
            let written = match &mut handle {
                Ok(handle) => handle.write_all(&bytes),
                Err(error) => Err(std::io::Error::from(error.kind())),
            };
            written.map_err(|error| Error::path(&error, "write", &path))
        })
        .await
    };
    match (asked.content, asked.content_stream_id) {
        (Some(content), None) if text => put(content.into()).await?,
        (Some(content), None) => {
            let bytes = STANDARD.decode(content);
            let bytes = bytes.map_err(|_| Error::type_error("the content is no base64"))?;
            put(bytes.into()).await?;
        }
        (None, Some(id)) => {
            let mut stream = state.incoming.reader(id)?;
            while let Some(bytes) = stream.next().await {
                put(bytes?).await?;
            }
        }
        _ => return Err(Error::type_error("there is no content, or there are two").into()),
    }
    file.flush()
        .map_err(|error| Error::path(&error, "write", &path))?;
    Ok(Value::Null)
}

impl Options {
    fn open(&self, path: &Path) -> Result<std::fs::File, Error> {
        let (append, new) = (
            self.append.unwrap_or(false),
            self.create_new.unwrap_or(false),
        );
        let mut options = OpenOptions::new();
        options
            .write(!append)
            .append(append)
            .truncate(!append && !new)
            .create(self.create.unwrap_or(true))
            .create_new(new)
            .mode(self.mode.unwrap_or(0o666));
        let failed = |error| Error::path(&error, "open", path);
        let file = options.open(path).map_err(failed)?;
        // Also of a file that was there already, and whatever the umask is.
        if let Some(mode) = self.mode {
            let permissions = std::fs::Permissions::from_mode(mode & 0o7777);
            file.set_permissions(permissions).map_err(failed)?;
        }
        Ok(file)
    }
}
