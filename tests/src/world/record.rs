//! What the servers have seen, as lines of JSON in files that the tests read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The authority's certificate.
pub const AUTHORITY: &str = "authority.pem";
/// Lines of [`Seen`].
pub const REQUESTS: &str = "requests";
/// Lines of names.
pub const QUESTIONS: &str = "questions";

/// A request as a server received it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The server name in the ClientHello; empty without TLS.
    pub sni: String,
    /// `HTTP/1.1`, `HTTP/2.0`.
    pub version: String,
    /// The method.
    pub method: String,
    /// Host, or authority.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// Values that occur twice are joined by a comma.
    pub headers: BTreeMap<String, String>,
    /// The beginning of the body.
    pub body: String,
}

/// A file to which lines are added. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Record(Arc<Mutex<File>>);

impl Record {
    /// An empty one.
    pub fn create(path: &Path) -> crate::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self(Arc::new(Mutex::new(file))))
    }

    /// Adds a line.
    pub fn add(&self, entry: &impl Serialize) -> crate::Result {
        let line = serde_json::to_string(entry)? + "\n";
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(file.write_all(line.as_bytes())?)
    }
}

/// All entries so far.
pub fn read<T: DeserializeOwned>(path: &Path) -> crate::Result<Vec<T>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}
