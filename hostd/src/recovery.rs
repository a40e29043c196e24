//! What an earlier hostd left behind when it did not end by itself: processes, cgroups, directories, and
//! records that are no longer true.
//!
//! **Invariant:** after [`recover`] nothing of an earlier hostd runs, `STATE/run` is empty, and every record says
//! how its sandbox ended. The snapshot store removes its own half-made snapshots when it is opened.

use std::fs;
use std::io;
use std::time::SystemTime;

use crate::database::{Database, DatabaseError};
use crate::host::cgroup::Cgroups;
use crate::sandbox::record::{FailureReason, Phase};
use crate::state_dir::StateDir;
use crate::vmm::orphans;

/// Why the past could not be put in order.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// A directory of a dead sandbox cannot be removed.
    #[error("cannot remove {path}, left by an earlier hostd; remove it by hand")]
    Leftover {
        /// What is in the way.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The records cannot be read or written.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Puts the past in order. Must run before anything new is started.
pub async fn recover(
    state_dir: &StateDir,
    database: &Database,
    cgroups: Option<&Cgroups>,
) -> Result<(), RecoveryError> {
    let orphans = orphans::end_orphans(state_dir.root()).await;
    if let Some(cgroups) = cgroups {
        cgroups.clear().await;
    }
    let leftovers = empty_run_directory(state_dir)?;
    let records = settle_records(database).await?;
    if orphans + leftovers + records > 0 {
        tracing::warn!(
            orphans,
            leftovers,
            records,
            "cleaned up after a hostd that did not end by itself"
        );
    }
    Ok(())
}

fn empty_run_directory(state_dir: &StateDir) -> Result<usize, RecoveryError> {
    let run = state_dir.run();
    let leftover = |path: &std::path::Path, source| RecoveryError::Leftover {
        path: path.display().to_string(),
        source,
    };
    let entries = fs::read_dir(&run).map_err(|source| leftover(&run, source))?;
    let mut count = 0;
    for entry in entries.flatten() {
        let path = entry.path();
        let removed = if path.is_dir() && !path.is_symlink() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.map_err(|source| leftover(&path, source))?;
        count += 1;
    }
    Ok(count)
}

async fn settle_records(database: &Database) -> Result<usize, RecoveryError> {
    let living = database.living_sandboxes().await?;
    let count = living.len();
    for mut record in living {
        record.phase = Phase::failed(
            FailureReason::HostRestarted,
            "hostd ended without notice, and the sandbox with it",
        );
        record.ended_at = Some(SystemTime::now());
        record.expires_at = None;
        database.put_sandbox(&record).await?;
    }
    Ok(count)
}
