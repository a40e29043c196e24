//! Why a policy says no.

use std::net::IpAddr;
use std::sync::Arc;

use thiserror::Error;

use super::AddressClass;

/// What a policy says: nothing, or why not.
pub type Verdict = Result<(), Refusal>;

/// Why a policy refuses a target. Its text is for the program in the sandbox and for whoever reads
/// its log.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// An entry of the deny list.
    #[error("denied by the sandbox's policy (entry {entry:?})")]
    Denied {
        /// The entry as it was written.
        entry: Arc<str>,
    },
    /// The default is deny, and no entry allows it.
    #[error("not allowed by the sandbox's policy")]
    NotAllowed,
    /// An address that no name stands for, and that no entry names.
    #[error("no name is known for this address, and no entry of the sandbox's policy names it")]
    BareAddress,
    /// An address of the kind that is refused unless an entry names it.
    #[error("the address {address} is {class}; only an entry that names it would allow it")]
    Special {
        /// The address: the one asked for, or the one that the name stands for.
        address: IpAddr,
        /// What it is.
        class: AddressClass,
    },
}

impl Refusal {
    /// A short word for counters.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Denied { .. } => "denied",
            Self::NotAllowed => "not-allowed",
            Self::BareAddress => "bare-address",
            Self::Special { .. } => "special-address",
        }
    }
}
