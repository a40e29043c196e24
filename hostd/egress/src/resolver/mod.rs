//! DNS for the guest, and which names it was given which addresses for.

mod names;
mod upstream;

pub use self::names::Names;
pub use self::upstream::{Answer, LookupError, MAX_ADDRESSES, Servers, SetupError, Upstream};
