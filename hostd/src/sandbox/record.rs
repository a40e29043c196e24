//! What is known of a sandbox, alive or not: the domain type that the API shows and the database keeps.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::SandboxId;
use crate::tenancy::Organisation;

/// The most of a guest's console that a failure carries, in bytes.
pub const CONSOLE_TAIL_BYTES: usize = 16 << 10;

/// One sandbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its name.
    pub id: SandboxId,
    /// Where it is in its life.
    pub phase: Phase,
    /// The client's own marks.
    pub labels: BTreeMap<String, String>,
    /// Whose it is; absent: the operator's.
    #[serde(default)]
    pub organisation: Option<Organisation>,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Guest memory in bytes.
    pub memory_bytes: u64,
    /// What it was restored from, if it was.
    pub snapshot_id: Option<String>,
    /// The image it runs.
    pub image: String,
    /// Of the last restore or boot; absent until the barrier.
    pub epoch: Option<Uuid>,
    /// When Create came in.
    pub created_at: SystemTime,
    /// When it was ended and removed.
    pub ended_at: Option<SystemTime>,
    /// When it will be ended; absent: never by itself.
    pub expires_at: Option<SystemTime>,
    /// Where the time of Create went, in order.
    pub stages: Vec<Stage>,
    /// Counts the changes while it lives, so that of two records of one sandbox the newer is known. Not stored.
    #[serde(skip)]
    pub revision: u64,
}

/// Where a sandbox is in its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Between Create and the restore barrier.
    Creating,
    /// Takes commands.
    Running,
    /// Stands still, its memory kept.
    Paused,
    /// Ended, as somebody wanted.
    Stopped(StopReason),
    /// Ended, as nobody wanted.
    Failed(Failure),
}

/// A phase without what belongs to it: what lists are filtered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// See [`Phase::Creating`].
    Creating,
    /// See [`Phase::Running`].
    Running,
    /// See [`Phase::Paused`].
    Paused,
    /// See [`Phase::Stopped`].
    Stopped,
    /// See [`Phase::Failed`].
    Failed,
}

/// Why a sandbox was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// By Kill.
    Killed,
    /// Its time was over.
    Timeout,
    /// By the guest itself.
    PoweredOff,
    /// hostd was told to end.
    HostStopped,
}

/// Why and how a sandbox failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What a program can act upon.
    pub reason: FailureReason,
    /// What people read.
    pub message: String,
    /// The end of the guest's console, at most [`CONSOLE_TAIL_BYTES`].
    pub console_tail: String,
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// The vmm process is gone.
    VmmDied,
    /// The guest rebooted, panicked or took a triple fault.
    GuestReset,
    /// The guest's agent was not heard of in time.
    BootTimeout,
    /// The guest's agent talked nonsense.
    AgentProtocol,
    /// hostd died, and its sandboxes with it.
    HostRestarted,
    /// The snapshot or image it should have come from is unusable.
    BadSource,
    /// Something on the host.
    HostError,
}

/// One step of Create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// As in `create_stages` of the API.
    pub name: String,
    /// How long it took.
    pub duration: Duration,
}

impl Record {
    /// The name of whose it is; absent: the operator's.
    pub fn owner(&self) -> Option<&str> {
        self.organisation.as_ref().map(Organisation::as_str)
    }
}

impl Phase {
    /// The phase without its particulars.
    pub fn state(&self) -> State {
        match self {
            Self::Creating => State::Creating,
            Self::Running => State::Running,
            Self::Paused => State::Paused,
            Self::Stopped(_) => State::Stopped,
            Self::Failed(_) => State::Failed,
        }
    }

    /// Whether nothing can happen to it any more.
    pub fn has_ended(&self) -> bool {
        matches!(self, Self::Stopped(_) | Self::Failed(_))
    }

    /// A failure without a console.
    pub fn failed(reason: FailureReason, message: impl Into<String>) -> Self {
        Self::Failed(Failure {
            reason,
            message: message.into(),
            console_tail: String::new(),
        })
    }

    /// The API's `end_reason`; empty while it lives.
    pub fn end_reason(&self) -> &'static str {
        match self {
            Self::Creating | Self::Running | Self::Paused => "",
            Self::Stopped(reason) => reason.name(),
            Self::Failed(failure) if failure.reason == FailureReason::HostRestarted => {
                "host_restarted"
            }
            Self::Failed(_) => "failed",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.state().name())?;
        match self {
            Self::Stopped(reason) => write!(f, " ({})", reason.name()),
            Self::Failed(failure) => write!(f, " ({}: {})", failure.reason.name(), failure.message),
            _ => Ok(()),
        }
    }
}

impl State {
    /// As stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

impl StopReason {
    /// The API's `end_reason`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Timeout => "timeout",
            Self::PoweredOff => "powered_off",
            Self::HostStopped => "host_stopped",
        }
    }
}

impl FailureReason {
    /// The API's `Failure.reason`.
    pub fn name(self) -> &'static str {
        match self {
            Self::VmmDied => "vmm_died",
            Self::GuestReset => "guest_reset",
            Self::BootTimeout => "boot_timeout",
            Self::AgentProtocol => "agent_protocol",
            Self::HostRestarted => "host_restarted",
            Self::BadSource => "bad_source",
            Self::HostError => "host_error",
        }
    }
}
