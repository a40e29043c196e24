//! The only way out of a sandbox.
//!
//! ```text
//!  guest ── tap ── TPROXY ──▶ gate ── sniff: SNI or Host ── policy ─┬─ pass through (splice) ──────────▶ upstream
//!        └─ DNS ──▶ resolver (policy, memory of names)             └─ intercept: TLS opened, HTTP parsed
//!                                                                       rewrite: secrets in, placeholders back
//! ```
//!
//! | module | what it knows |
//! |---|---|
//! | [`policy`] | which names, ports and addresses a sandbox may reach; nothing of sockets |
//! | [`resolver`] | DNS for the guest, and which names it was given which addresses for |
//! | [`sniff`] | the first bytes of a connection: ClientHello or HTTP head |
//! | [`gate`] | one sandbox's listeners, connections, limits; decides and dials; passes through |
//! | [`intercept`] | the sandbox's CA, TLS on both sides, HTTP/1.1, HTTP/2, upgrades |
//! | [`secrets`] | values, hosts, surfaces, and a running sandbox's vault; nothing of HTTP servers |
//! | [`processors`] | what is made of a value where its placeholder is: MACs, signatures, tokens; pure |
//! | `rewrite` | substitution and redaction of heads and of streams; pure |
//! | [`audit`] | what is told of each decision; redaction is by type |

pub mod audit;
pub mod gate;
pub mod hop;
pub mod intercept;
pub mod policy;
pub mod processors;
pub mod resolver;
mod rewrite;
pub mod secrets;
pub mod sniff;
#[cfg(test)]
mod testing;
