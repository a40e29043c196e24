//! What was dropped in a namespace.

use netlink_socket2::NetlinkSocket;

use crate::error::{During, Error, Step};
use crate::rules::{self, FLOODS, FRAGMENTS, OTHERS, SPOOFED};

/// Packets of the guest that were dropped since its namespace was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Of packets cut into pieces.
    pub fragments: u64,
    /// With a source address that is not the guest's.
    pub spoofed: u64,
    /// Questions to the resolver that came too fast.
    pub floods: u64,
    /// Of any protocol but TCP, and UDP to any port but that of DNS.
    pub others: u64,
}

impl Dropped {
    /// Reads the counters of the calling thread's namespace.
    pub(crate) fn read() -> Result<Self, Error> {
        let counters = rules::counters(&mut NetlinkSocket::new()).during(Step::Counters)?;
        let count = |name: &std::ffi::CStr| {
            let of_name = |(other, _): &&(Vec<u8>, u64)| other == name.to_bytes();
            counters.iter().find(of_name).map_or(0, |(_, count)| *count)
        };
        Ok(Self {
            fragments: count(FRAGMENTS),
            spoofed: count(SPOOFED),
            floods: count(FLOODS),
            others: count(OTHERS),
        })
    }
}
