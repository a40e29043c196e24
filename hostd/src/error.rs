//! Everything that can go wrong between a request and its answer, in the daemon's own words.
//! [`crate::api::status`] is the one place that turns it into gRPC.

use crate::id::SandboxId;
use crate::sandbox::record::{Failure, Phase};

/// Short for a result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A request that could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field of the request is not acceptable.
    #[error("{field}: {problem}")]
    Invalid {
        /// Path of the field in the request message.
        field: &'static str,
        /// What is wrong with it, for people.
        problem: String,
    },
    /// No sandbox has this id.
    #[error("there is no sandbox {0:?}")]
    SandboxNotFound(String),
    /// No snapshot has this id or name.
    #[error("there is no snapshot {0:?}")]
    SnapshotNotFound(String),
    /// A secret that only another host can read.
    #[error("secret {name}: {problem}")]
    SealedForAnotherHost {
        /// The secret.
        name: String,
        /// Which key it is for, and which there is.
        problem: String,
    },
    /// No installed image has this name or digest.
    #[error("there is no image {0:?}; `images build` makes one, --images says where they are")]
    ImageNotFound(String),
    /// Another snapshot has this name.
    #[error("a snapshot named {0:?} exists; `replace` takes the name from it")]
    SnapshotNameTaken(String),
    /// The snapshot is in a read-only store.
    #[error("snapshot {0:?} is in a read-only store")]
    SnapshotReadOnly(String),
    /// The snapshot's files are not what was written.
    #[error("snapshot {snapshot} is damaged: {problem}")]
    SnapshotDamaged {
        /// The snapshot's id or name.
        snapshot: String,
        /// Which part: manifest, memory, state, disk.
        part: &'static str,
        /// The chain of causes.
        problem: String,
    },
    /// The snapshot is whole, but this host cannot run it.
    #[error("snapshot {snapshot} cannot run on this host: {problem}")]
    SnapshotIncompatible {
        /// The snapshot's id or name.
        snapshot: String,
        /// Why, for people.
        problem: String,
        /// What it needs and this host has not: names of CPU features.
        missing: Vec<String>,
    },
    /// An installed image cannot be used.
    #[error("image {image:?} is unusable: {problem}")]
    ImageUnusable {
        /// Its name.
        image: String,
        /// Why.
        problem: String,
    },
    /// The sandbox is in a phase in which this cannot be done.
    #[error("sandbox {id} is {phase}")]
    NotRunning {
        /// Which sandbox.
        id: SandboxId,
        /// Its phase now.
        phase: Phase,
    },
    /// The sandbox stands still, for a snapshot or a pause in progress, for longer than a call waits.
    #[error("sandbox {id} has been standing still for a snapshot for {limit:?}; try again")]
    StandsStill {
        /// Which sandbox.
        id: SandboxId,
        /// How long the call waited.
        limit: std::time::Duration,
    },
    /// The sandbox ended while the request was under way.
    #[error("sandbox {id} ended meanwhile: {phase}")]
    Ended {
        /// Which sandbox.
        id: SandboxId,
        /// How it ended.
        phase: Phase,
    },
    /// The sandbox could not be made, or died in the making.
    #[error("sandbox {id} failed: {}", failure.message)]
    CreateFailed {
        /// Which sandbox: its record is kept.
        id: SandboxId,
        /// Why.
        failure: Failure,
    },
    /// The guest's agent said no, in its own words.
    #[error("the guest's agent answered {}: {}", .0.code(), .0.message())]
    Agent(Box<tonic::Status>),
    /// The guest did not come up in time.
    #[error("{0}")]
    BootTimeout(String),
    /// The agent's answer breaks the protocol.
    #[error("the guest's agent broke the protocol: {0}")]
    AgentProtocol(String),
    /// The agent took too long.
    #[error("the guest's agent did not answer {call} within {limit:?}")]
    AgentTimeout {
        /// The method called.
        call: &'static str,
        /// How long it had.
        limit: std::time::Duration,
    },
    /// The client opened a stream and said nothing.
    #[error("no first message came within {0:?}")]
    NoFirstMessage(std::time::Duration),
    /// The client reset its stream.
    #[error("the client broke off")]
    BrokenOff,
    /// hostd has no networks to give.
    #[error("this hostd runs without networks")]
    NetworkUnavailable,
    /// The sandbox has no secret of this name.
    #[error("the sandbox has no secret {0:?}")]
    SecretNotFound(String),
    /// The secrets of the saved sandbox are not known any more.
    #[error(
        "the secrets of the sandbox that was saved as {0} are not known: they are kept in memory alone, \
         by the hostd that took the snapshot; give them again"
    )]
    SecretsNotKept(String),
    /// The client showed no token that is accepted.
    #[error(
        "send a token that is valid here as `authorization: Bearer TOKEN`: that of hostd's --token-file, or one that \
         `thaw token create` made"
    )]
    Unauthenticated,
    /// The token is not good for this.
    #[error("this needs {need}")]
    Forbidden {
        /// What it needs.
        need: String,
    },
    /// A limit of the token is reached.
    #[error("the token's quota is {limit}")]
    Quota {
        /// The limit, and what to do.
        limit: String,
    },
    /// There is no such token, or it is of another organisation.
    #[error("there is no token {0:?}")]
    TokenNotFound(String),
    /// The host has no memory for what the sandbox would come from.
    #[error(
        "snapshot {snapshot} needs {needed} bytes of memory, and {available} are free; end some sandboxes"
    )]
    Memory {
        /// The snapshot's id.
        snapshot: String,
        /// What its template takes.
        needed: u64,
        /// What the host could give.
        available: u64,
    },
    /// A limit of this host is reached.
    #[error("{limit} are the most this host runs; end some, or raise --max-sandboxes")]
    Capacity {
        /// The limit on sandboxes.
        limit: usize,
    },
    /// One sandbox's limit on calls is reached.
    #[error("{limit} calls of processes and files are the most for one sandbox at once; end some")]
    TooManyCalls {
        /// The limit.
        limit: u32,
    },
    /// A watcher was slower than the events, and some are lost.
    #[error("{0} events were lost because they were read too slowly; list, then watch again")]
    WatchLagged(u64),
    /// hostd is about to end.
    #[error("hostd is shutting down")]
    ShuttingDown,
    /// The machine below said no: a file, a process, the vmm, the database.
    #[error("{doing}: {cause}")]
    Host {
        /// What was being done.
        doing: String,
        /// The chain of causes, joined.
        cause: String,
    },
}

impl Error {
    /// A refused field.
    pub fn invalid(field: &'static str, problem: impl Into<String>) -> Self {
        Self::Invalid {
            field,
            problem: problem.into(),
        }
    }

    /// A failure of the host, with the whole chain of causes.
    pub fn host(doing: impl Into<String>, cause: &(dyn std::error::Error + 'static)) -> Self {
        Self::Host {
            doing: doing.into(),
            cause: chain(cause),
        }
    }
}

/// An error and its sources in one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Says what was being done when a host operation failed.
pub trait Context<T> {
    /// Turns the error into [`Error::Host`].
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: std::error::Error + 'static> Context<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|cause| Error::host(what(), &cause))
    }
}
