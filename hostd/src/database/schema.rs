//! The tables, and how older ones become newer ones.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use super::DatabaseError;

/// Each entry brings the file from its index to the next version; `user_version` counts them.
const MIGRATIONS: &[&str] = &[
    // The record is JSON; the columns beside it are what is searched by.
    "CREATE TABLE sandboxes (
        id      TEXT PRIMARY KEY,
        created INTEGER NOT NULL, -- microseconds since 1970
        ended   INTEGER,          -- the same; NULL while it lives
        state   TEXT NOT NULL,
        labels  TEXT NOT NULL,    -- a JSON object of strings
        record  TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX sandboxes_by_age ON sandboxes (created, id);
    CREATE INDEX sandboxes_ended ON sandboxes (ended);",
    // Whose it is: NULL for the operator's. A token's record is JSON, with the digest of the token.
    "ALTER TABLE sandboxes ADD COLUMN organisation TEXT;
    CREATE INDEX sandboxes_of_organisation ON sandboxes (organisation, created, id);
    CREATE TABLE tokens (
        id      TEXT PRIMARY KEY,
        created INTEGER NOT NULL, -- microseconds since 1970
        record  TEXT NOT NULL
    ) WITHOUT ROWID;",
];

/// Another process (a backup, a curious operator) may hold the file this long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens the file and migrates it.
pub(super) fn open(path: &Path) -> Result<Connection, DatabaseError> {
    let open_error = |source| DatabaseError::Open {
        path: path.display().to_string(),
        source,
    };
    let mut connection = Connection::open(path).map_err(open_error)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(open_error)?;
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .map_err(open_error)?;
    connection
        .pragma_update(None, "synchronous", "NORMAL")
        .map_err(open_error)?;
    migrate(&mut connection)?;
    Ok(connection)
}

fn migrate(connection: &mut Connection) -> Result<(), DatabaseError> {
    let known = MIGRATIONS.len() as u32;
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > known {
        return Err(DatabaseError::Newer { found, known });
    }
    for (index, step) in MIGRATIONS.iter().enumerate().skip(found as usize) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", index as u32 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}
