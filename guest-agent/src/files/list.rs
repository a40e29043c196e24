//! Listing a directory, to a depth, as a stream.

use std::fs::{self, ReadDir};
use std::path::PathBuf;

use futures::Stream;
use nix::errno::Errno;
use protocol::types::v1::{DirEntries, FileInfo, ListDir};
use tonic::Status;

use super::{info, path};
use crate::status::{PosixError, errno_of, invalid, task_lost};

/// Entries of one message.
const MAX_ENTRIES: usize = 512;

/// Bytes of the paths in one message, about; a message of 512 paths of 4 KiB, twice each, would be too large.
const MAX_PATHS_BYTES: usize = 512 << 10;

/// How far down a listing goes: one open directory for each level.
const MAX_DEPTH: u32 = 256;

/// A walk through directories, depth first. Symbolic links are listed and not followed.
pub(super) struct Walk {
    /// The directories between the first one and where we are.
    open: Vec<ReadDir>,
    depth: usize,
}

impl Walk {
    /// Opens the directory. Blocks.
    pub(super) fn open(request: &ListDir) -> Result<Self, Status> {
        let path = path::absolute("path", &request.path)?;
        if request.depth > MAX_DEPTH {
            return Err(invalid("depth", format!("more than {MAX_DEPTH}")));
        }
        let first = fs::read_dir(&path).map_err(PosixError::io("opendir", &path))?;
        Ok(Self {
            open: vec![first],
            depth: request.depth.max(1) as usize,
        })
    }

    /// Message by message, each made when the client has taken the one before.
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<DirEntries, Status>> + Send {
        futures::stream::try_unfold(self, |walk| async {
            let page = tokio::task::spawn_blocking(move || walk.page());
            let (entries, walk) = page.await.map_err(|_| task_lost())??;
            Ok((!entries.is_empty()).then_some((DirEntries { entries }, walk)))
        })
    }

    fn page(mut self) -> Result<(Vec<FileInfo>, Self), PosixError> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        while entries.len() < MAX_ENTRIES && bytes < MAX_PATHS_BYTES {
            let Some(entry) = self.next()? else { break };
            bytes += 2 * entry.path.len();
            entries.push(entry);
        }
        Ok((entries, self))
    }

    fn next(&mut self) -> Result<Option<FileInfo>, PosixError> {
        while let Some(directory) = self.open.last_mut() {
            let entry = match directory.next() {
                None => {
                    self.open.pop();
                    continue;
                }
                Some(entry) => entry.map_err(PosixError::io("readdir", "".as_ref()))?,
            };
            let path = entry.path();
            match entry.metadata() {
                Ok(metadata) => {
                    if metadata.is_dir() && self.open.len() < self.depth {
                        self.descend(&path)?;
                    }
                    return Ok(Some(info::describe(&path, &metadata)));
                }
                Err(error) if is_gone(errno_of(&error)) => {}
                Err(error) => return Err(PosixError::io("stat", &path)(error)),
            }
        }
        Ok(None)
    }

    fn descend(&mut self, path: &PathBuf) -> Result<(), PosixError> {
        match fs::read_dir(path) {
            Ok(directory) => self.open.push(directory),
            Err(error) if is_gone(errno_of(&error)) => {}
            Err(error) => return Err(PosixError::io("opendir", path)(error)),
        }
        Ok(())
    }
}

/// Files come and go while they are listed.
fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::ENOENT | Errno::ENOTDIR | Errno::ESRCH)
}
