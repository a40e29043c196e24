//! What one sandbox may use of the proxy.

use std::num::NonZeroU32;
use std::time::Duration;

/// The limits of one sandbox. The defaults let a busy build through and bound a flood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections of the guest open at once.
    pub connections: usize,
    /// Connections to hosts open at once.
    pub hosts: usize,
    /// Requests under way at once, over all opened connections.
    pub requests: usize,
    /// Bodies of which a signature is made, at once: each is held in memory as a whole, up to 8 MiB.
    pub signing: usize,
    /// Of the connections, those whose first bytes are still awaited.
    pub undecided: usize,
    /// New connections each second, on average.
    pub connections_each_second: NonZeroU32,
    /// New connections that may come at once after a quiet time.
    pub connections_burst: NonZeroU32,
    /// How long a client may take to say all that is needed to decide.
    pub first_bytes: Duration,
    /// After so long without a word from the client, its protocol is taken for one where the
    /// server speaks first.
    pub silence: Duration,
    /// How long a host may take to accept a connection, at each of its addresses.
    pub connect: Duration,
    /// A passed-through connection without a byte for so long is taken for dead.
    pub idle: Duration,
    /// DNS questions each second, on average; three times as many at once.
    pub questions_each_second: NonZeroU32,
    /// Different names asked for each minute, on average: what a tunnel through an allowed
    /// `*.host` could carry is at most so many labels.
    pub names_each_minute: NonZeroU32,
    /// DNS questions under way at once.
    pub questions: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            hosts: 1024,
            requests: 2048,
            signing: 8,
            undecided: 256,
            connections_each_second: some(200),
            connections_burst: some(500),
            first_bytes: Duration::from_secs(10),
            silence: Duration::from_millis(150),
            connect: Duration::from_secs(4),
            idle: Duration::from_secs(2 * 3600),
            questions_each_second: some(100),
            names_each_minute: some(300),
            questions: 64,
        }
    }
}

const fn some(count: u32) -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(count.saturating_sub(1))
}
