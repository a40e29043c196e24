//! DNS for the guest, and which names it was given which addresses for.
//!
//! The guest may ask any server: it is always this one that answers. It answers IPv4 addresses of
//! names that the policy allows at some port, and asks the host's DNS servers, with a cache for all
//! sandboxes, only for these. Everything else is answered here: nothing of it leaves the host.
//!
//! | question | answer |
//! |---|---|
//! | `A` of an allowed name | its addresses, CNAMEs followed, without those that the policy refuses (rebinding) |
//! | any other type of an allowed name | nothing: no IPv6, no service bindings (so no keys for ECH), no `TXT` |
//! | a name that is not allowed, or whose addresses all are refused | there is no such name |
//! | other classes, operations, several questions | an error |
//!
//! What is left as a way out for data is the name itself, below an allowed `*.host`, to that host's
//! own DNS servers. Rates bound it: see [`crate::gate::Limits::names_each_minute`].

mod names;
mod question;
mod rates;
mod reply;
mod server;
mod service;
#[cfg(test)]
mod tests;
mod upstream;

pub use self::names::Names;
pub(crate) use self::rates::Rates;
pub use self::server::serve;
pub use self::upstream::{Answer, LookupError, MAX_ADDRESSES, Servers, SetupError, Upstream};
