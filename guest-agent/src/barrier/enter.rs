//! A validated `EnterRequest`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use protocol::agent::v1 as wire;
use tonic::Status;
use uuid::Uuid;

use crate::machine::{Authority, Identity};
use crate::processes::{MAX_SPEC_BYTES, MAX_VARIABLES};
use crate::status::invalid;

/// Entropy pushed at a barrier, in bytes. The lower bound is what fills the kernel's generator, the upper what one
/// ioctl takes.
const ENTROPY_BYTES: std::ops::RangeInclusive<usize> = 32..=crate::machine::MAX_ENTROPY_BYTES;

/// Wall clocks that make sense, in seconds since 1970: from 2020 to 2200.
const WALL_CLOCK: std::ops::Range<u64> = 1_577_836_800..7_258_118_400;

/// The largest DNS label, in bytes.
const MAX_HOSTNAME_BYTES: usize = 63;

/// Which restore of which snapshot this machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch(Uuid);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// Names and values that every process of the sandbox gets. Keys are not empty and hold no `=`; nothing
/// holds a zero byte.
pub type Environment = BTreeMap<String, String>;

/// Bytes for the kernel's pool. Not shown by `Debug`: what comes out of the pool follows from them.
pub struct Entropy(Vec<u8>);

impl Entropy {
    /// The bytes themselves.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entropy({} bytes)", self.0.len())
    }
}

impl Drop for Entropy {
    fn drop(&mut self) {
        // Not an optimisation barrier, but the buffer goes back to the allocator, which reads it.
        self.0.fill(0);
        std::hint::black_box(&self.0);
    }
}

/// What a machine becomes at the barrier.
#[derive(Debug)]
pub struct EnterRequest {
    /// New for every restore.
    pub epoch: Epoch,
    /// For the kernel's pool.
    pub entropy: Entropy,
    /// The host's clock when the request arrived.
    pub wall_clock: SystemTime,
    received: Instant,
    /// Host name and machine id.
    pub identity: Identity,
    /// For every process from now on.
    pub environment: Environment,
    /// Who vouches for the hosts that the egress proxy opens; `None` leaves the store as it is.
    pub authority: Option<Authority>,
    /// A freeze on this machine is undone; the epoch is the current one.
    pub same_machine: bool,
}

impl EnterRequest {
    /// The host's clock now: what it was, and the time since.
    pub fn wall_clock_now(&self) -> SystemTime {
        self.wall_clock + self.received.elapsed()
    }
}

impl TryFrom<wire::EnterRequest> for EnterRequest {
    type Error = Status;

    fn try_from(request: wire::EnterRequest) -> Result<Self, Status> {
        let received = Instant::now();
        let epoch = Uuid::try_parse(&request.epoch).map_err(|_| invalid("epoch", "not a UUID"))?;
        if epoch.is_nil() {
            return Err(invalid("epoch", "the nil UUID is nobody's"));
        }
        if !ENTROPY_BYTES.contains(&request.entropy.len()) {
            return Err(invalid("entropy", "32 to 512 bytes are needed"));
        }
        Ok(Self {
            epoch: Epoch(epoch),
            entropy: Entropy(request.entropy),
            wall_clock: wall_clock(request.wall_clock)?,
            received,
            identity: identity(request.hostname, request.machine_id)?,
            environment: environment("env", request.env)?,
            authority: authority(request.authority_pem)?,
            same_machine: request.same_machine,
        })
    }
}

fn wall_clock(time: Option<prost_types::Timestamp>) -> Result<SystemTime, Status> {
    let time = time.ok_or_else(|| invalid("wall_clock", "missing"))?;
    let seconds = u64::try_from(time.seconds)
        .ok()
        .filter(|seconds| WALL_CLOCK.contains(seconds));
    let nanos = u32::try_from(time.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000);
    let (Some(seconds), Some(nanos)) = (seconds, nanos) else {
        return Err(invalid("wall_clock", "not between 2020 and 2200"));
    };
    Ok(UNIX_EPOCH + Duration::new(seconds, nanos))
}

fn identity(hostname: String, machine_id: String) -> Result<Identity, Status> {
    let label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let fits = (1..=MAX_HOSTNAME_BYTES).contains(&hostname.len());
    if !fits || !hostname.bytes().all(label) || hostname.starts_with('-') || hostname.ends_with('-')
    {
        return Err(invalid("hostname", "not a DNS label"));
    }
    let hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if machine_id.len() != 32 || !machine_id.bytes().all(hexadecimal) {
        return Err(invalid(
            "machine_id",
            "not 32 lower-case hexadecimal digits",
        ));
    }
    Ok(Identity {
        hostname,
        machine_id,
    })
}

fn authority(pem: String) -> Result<Option<Authority>, Status> {
    if pem.is_empty() {
        return Ok(None);
    }
    let authority = Authority::new(pem).ok_or_else(|| {
        let problem = "not one PEM certificate of at most 8 KiB";
        invalid("authority_pem", problem)
    })?;
    Ok(Some(authority))
}

/// Validates variables, here and in a process specification.
pub(crate) fn environment(
    field: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Environment, Status> {
    let variables: Environment = variables.into_iter().collect();
    if variables.len() > MAX_VARIABLES {
        return Err(invalid(
            field,
            format!("more than {MAX_VARIABLES} variables"),
        ));
    }
    let mut bytes = 0;
    for (key, value) in &variables {
        if key.is_empty() || key.contains(['=', '\0']) {
            return Err(invalid(
                field,
                "a name is empty or holds '=' or a zero byte",
            ));
        }
        if value.contains('\0') {
            return Err(invalid(field, "a value holds a zero byte"));
        }
        bytes += key.len() + value.len() + 2;
    }
    if bytes > MAX_SPEC_BYTES {
        return Err(invalid(field, format!("more than {MAX_SPEC_BYTES} bytes")));
    }
    Ok(variables)
}
