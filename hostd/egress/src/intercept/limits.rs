//! What one opened connection may cost.
//!
//! A head of HTTP/1.1 may have 100 headers: hyper's own limit, for which it has room without asking the heap.
//! A connection's memory is bounded by [`H1_BUFFER`], or by [`H2_CONNECTION_WINDOW`] and [`H2_STREAMS`] times
//! [`H2_SEND_BUFFER`]; how many connections a sandbox has is the gate's business.

use std::time::Duration;

/// The longest head of a request or response, all headers together: nginx takes 32 KiB, Node 16 KiB, and tokens grow.
pub(super) const HEAD: usize = 64 << 10;
/// hyper's buffer of an HTTP/1.1 connection, in each direction. Must hold a head.
pub(super) const H1_BUFFER: usize = 128 << 10;
/// How long a guest may take for a request's head, the idle time before it included.
pub(super) const HEAD_TIME: Duration = Duration::from_secs(75);
/// How long TLS with the guest may take once its ClientHello is there.
pub(super) const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How long TLS with an upstream may take.
pub(super) const UPSTREAM_HANDSHAKE_TIME: Duration = Duration::from_secs(15);

/// Streams that a guest may have open on one HTTP/2 connection: RFC 9113 asks for no less than 100.
pub(super) const H2_STREAMS: u32 = 128;
/// How far a peer may run ahead on one stream.
pub(super) const H2_STREAM_WINDOW: u32 = 512 << 10;
/// How far a peer may run ahead on one connection: what all of its streams may have us hold.
pub(super) const H2_CONNECTION_WINDOW: u32 = 2 << 20;
/// How much is queued for a slow peer on each stream.
pub(super) const H2_SEND_BUFFER: usize = 64 << 10;
/// Streams reset by a guest before they were served (rapid reset, CVE-2023-44487); one more ends the connection.
pub(super) const H2_PENDING_RESETS: usize = 32;
/// Streams that we had to reset because of a peer's errors (CVE-2025-8671); one more ends the connection.
pub(super) const H2_ERROR_RESETS: usize = 64;
/// A silent HTTP/2 peer is asked for a sign of life after this long.
pub(super) const H2_PING_EVERY: Duration = Duration::from_secs(60);
/// A peer that does not answer that in time is gone.
pub(super) const H2_PING_TIME: Duration = Duration::from_secs(20);

/// After how long without work an upstream may end a connection of HTTP/1.1: the shortest times that servers are
/// configured with are whole seconds.
pub(super) const REST: Duration = Duration::from_millis(500);
/// Hosts that one cleartext HTTP connection of a guest may have upstream connections to at a time.
pub(super) const UPSTREAMS: usize = 8;
/// A request body of a known length up to this is gathered when it is rewritten, so that it keeps a length;
/// longer ones go on in chunks as they come.
pub(super) const GATHERED_BODY: u64 = 256 << 10;
/// A request body of which a signature is made is gathered up to this: a sandbox has [`crate::gate::Limits::signing`]
/// of them at a time.
pub(super) const SIGNED_BODY: usize = 8 << 20;
/// What a token endpoint answers at most; tokens have a few KiB.
pub(super) const TOKEN_ANSWER: usize = 64 << 10;
/// How much longer a gathered body may become when secrets are put into it.
pub(super) const GROWTH: usize = 8;
