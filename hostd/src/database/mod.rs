//! SQLite on a thread of its own. It holds what must be true after `kill -9`: the sandboxes' records,
//! and the tokens'.
//!
//! WAL with `synchronous=NORMAL`: a committed record survives the death of hostd at any instant. After a
//! power cut the newest records may be missing, but so are the machines they spoke of.

mod sandboxes;
mod schema;
mod tokens;

use std::path::Path;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

pub use sandboxes::{Cursor, Filter, Page};

/// Work that may wait for the database's thread before callers are held back.
const QUEUE: usize = 256;

/// What went wrong with the records.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The file cannot be opened or brought to this version's shape.
    #[error("cannot open the database {path}")]
    Open {
        /// The file.
        path: String,
        /// SQLite's reason.
        #[source]
        source: rusqlite::Error,
    },
    /// The file was written by a newer hostd.
    #[error(
        "the database has version {found}, this hostd knows up to {known}; run the newer hostd or another --state-dir"
    )]
    Newer {
        /// The file's version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// SQLite said no.
    #[error("database")]
    Sqlite(#[from] rusqlite::Error),
    /// A stored record cannot be read back.
    #[error("a record in the database is damaged")]
    Damaged(#[from] serde_json::Error),
    /// The database's thread has ended.
    #[error("the database is closed")]
    Closed,
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A handle to the thread that owns the connection. Cheap to clone; the thread ends with the last one.
#[derive(Clone, Debug)]
pub struct Database {
    jobs: mpsc::Sender<Job>,
}

impl Database {
    /// Opens the file, or makes it, and starts the thread.
    pub fn open(path: &Path) -> Result<Self, DatabaseError> {
        let mut connection = schema::open(path)?;
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        std::thread::Builder::new()
            .name("database".into())
            .spawn(move || {
                while let Some(job) = queue.blocking_recv() {
                    job(&mut connection);
                }
            })
            .map_err(|error| DatabaseError::Open {
                path: path.display().to_string(),
                source: rusqlite::Error::ToSqlConversionFailure(error.into()),
            })?;
        Ok(Self { jobs })
    }

    async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // A caller that has gone away does not need the answer.
            let _ = answer.send(job(connection));
        });
        self.jobs
            .send(job)
            .await
            .map_err(|_| DatabaseError::Closed)?;
        answered.await.map_err(|_| DatabaseError::Closed)?
    }
}
