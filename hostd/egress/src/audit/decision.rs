//! [`Decision`]: what was decided, and about what.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use http::Method;

use super::{PathText, SecretName};
use crate::policy::{Host, Refusal, Target};

/// One event of the audit.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The sandbox.
    pub sandbox: Arc<str>,
    /// When.
    pub time: SystemTime,
    /// What was spoken.
    pub protocol: Protocol,
    /// The host, as far as it was known.
    pub host: Option<Host>,
    /// The port.
    pub port: u16,
    /// The address that was dialled, or that the guest wanted where nothing was.
    pub address: Option<IpAddr>,
    /// The request's method, if it was a request.
    pub method: Option<Method>,
    /// The request's path as the guest wrote it, before anything was put into it.
    pub path: Option<PathText>,
    /// The secrets that were put in, or withheld, by name.
    pub secrets: Vec<SecretName>,
    /// Whether this tells of the decision or of the end.
    pub moment: Moment,
    /// What was decided.
    pub outcome: Outcome,
    /// Why it was refused, withheld or ended.
    pub reason: Option<Reason>,
    /// Bytes from the guest to the host, so far.
    pub bytes_up: u64,
    /// Bytes from the host to the guest, so far.
    pub bytes_down: u64,
}

/// What was spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// A question of the guest's to the resolver.
    Dns,
    /// Anything on TCP, passed through.
    Tcp,
    /// TLS, passed through.
    Tls,
    /// HTTP of either version: a request, on opened TLS or in the clear.
    Http,
    /// An opened WebSocket.
    WebSocket,
}

/// Which event of a connection or request it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Moment {
    /// It was decided.
    Decided,
    /// It ended; the byte counts are final.
    Ended,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It goes to the host.
    Allowed,
    /// It does not.
    Refused,
    /// It goes to the host with a placeholder in it whose secret that host does not get.
    Withheld,
    /// It was allowed, but the host could not be reached, or did not behave.
    Failed,
}

/// Why something was refused, withheld or ended. No text that a guest, a host or a secret has
/// written fits in here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The policy said so.
    Policy(Refusal),
    /// Something else, in words that the program has.
    Other(&'static str),
}

impl Reason {
    /// A short word, or a short sentence, for counters.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Policy(refusal) => refusal.code(),
            Self::Other(text) => text,
        }
    }
}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        Self::Policy(refusal)
    }
}

impl Decision {
    pub(super) fn new(sandbox: Arc<str>, time: SystemTime, protocol: Protocol, port: u16) -> Self {
        Self {
            sandbox,
            time,
            protocol,
            host: None,
            port,
            address: None,
            method: None,
            path: None,
            secrets: Vec::new(),
            moment: Moment::Decided,
            outcome: Outcome::Allowed,
            reason: None,
            bytes_up: 0,
            bytes_down: 0,
        }
    }

    /// About this target.
    pub fn about(mut self, target: &Target) -> Self {
        self.set_target(target);
        self
    }

    /// The same, in place.
    pub(crate) fn set_target(&mut self, target: &Target) {
        self.host = Some(target.host.clone());
        self.port = target.port;
    }

    /// Refused, and why.
    pub fn refuse(mut self, reason: impl Into<Reason>) -> Self {
        self.outcome = Outcome::Refused;
        self.reason = Some(reason.into());
        self
    }

    /// The end of what this decided, with the bytes that went each way.
    pub fn end(mut self, bytes_up: u64, bytes_down: u64) -> Self {
        self.time = SystemTime::now();
        self.moment = Moment::Ended;
        (self.bytes_up, self.bytes_down) = (bytes_up, bytes_down);
        self
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.sandbox, self.protocol)?;
        match (&self.host, &self.address) {
            (Some(host), _) => write!(f, " {host}:{}", self.port)?,
            (None, Some(address)) => write!(f, " {address}:{}", self.port)?,
            (None, None) => write!(f, " port {}", self.port)?,
        }
        if let Some(method) = &self.method {
            write!(f, " {method}")?;
        }
        if let Some(path) = &self.path {
            write!(f, " {path}")?;
        }
        for (index, secret) in self.secrets.iter().enumerate() {
            let lead = if index == 0 { " secrets=" } else { "," };
            write!(f, "{lead}{secret}")?;
        }
        write!(f, " {}", self.outcome)?;
        if let Some(reason) = &self.reason {
            write!(f, ": {reason}")?;
        }
        if self.moment == Moment::Ended {
            write!(
                f,
                ", ended after {}/{} bytes",
                self.bytes_up, self.bytes_down
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(refusal) => refusal.fmt(f),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::WebSocket => "websocket",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Withheld => "withheld",
            Self::Failed => "failed",
        })
    }
}
