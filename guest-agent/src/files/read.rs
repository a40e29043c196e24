//! Reading a file as a stream.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use futures::Stream;
use protocol::types::v1::{FileChunk, ReadFile};
use tonic::Status;

use super::{CHUNK_BYTES, path};
use crate::status::{PosixError, task_lost};

/// An open file and where the next piece comes from.
pub(super) struct Reader {
    file: File,
    path: PathBuf,
    offset: u64,
    /// Bytes still wanted.
    left: u64,
}

impl Reader {
    /// Opens it. Blocks.
    pub(super) fn open(request: &ReadFile) -> Result<Self, Status> {
        let path = path::absolute("path", &request.path)?;
        let file = path::open_regular(File::options().read(true), &path)?;
        let left = request.length.unwrap_or(u64::MAX);
        Ok(Self {
            file,
            path,
            offset: request.offset,
            left,
        })
    }

    /// The file piece by piece, each read when the client has taken the one before.
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<FileChunk, Status>> + Send {
        futures::stream::try_unfold(self, |reader| async {
            let read = tokio::task::spawn_blocking(move || reader.next());
            let (data, reader) = read.await.map_err(|_| task_lost())??;
            Ok((!data.is_empty()).then_some((FileChunk { data: data.into() }, reader)))
        })
    }

    /// The next piece; empty at the end of the file or of what was asked for.
    fn next(mut self) -> Result<(Vec<u8>, Self), PosixError> {
        let want = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(CHUNK_BYTES);
        let mut data = vec![0; want];
        let mut filled = 0;
        // Files of /proc give less than is asked for without being at their end.
        while let Some(rest) = data.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, self.offset) {
                Ok(0) => break,
                Ok(count) => {
                    filled += count;
                    self.offset = self.offset.saturating_add(count as u64);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(PosixError::io("read", &self.path)(error)),
            }
        }
        data.truncate(filled);
        self.left -= filled as u64;
        Ok((data, self))
    }
}
