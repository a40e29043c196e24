//! Thaw's wire protocols.
//!
//! - [`hostd`]: the public gRPC API.
//! - [`agent`]: host to guest, gRPC over vsock.
//! - [`types`]: what both say about processes and files.
//! - [`vmm`]: hostd to its vmm processes, messages over a socketpair.
//!
//! Generated types stop at the API boundary: each crate turns them into its own.
#![allow(missing_docs, reason = "the .proto files carry the documentation")]

/// Messages that the public API and the agent share.
pub mod types {
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/thaw.types.v1.rs"));
    }
}

/// The public API.
pub mod hostd {
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/thaw.hostd.v1.rs"));
    }
}

/// Host to guest.
pub mod agent {
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/thaw.agent.v1.rs"));
    }
}

/// hostd to vmm.
pub mod vmm {
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/thaw.vmm.v1.rs"));
    }
}

/// The kernel command line that boots Debian's cloud kernel in a vmm with the fewest exits.
///
/// | words | why |
/// |---|---|
/// | `console=ttyS0 loglevel=3` | a serial byte costs two exits; a panic is printed all the same |
/// | `8250.nr_uarts=1` | there is one serial port: do not look for more |
/// | `reboot=t panic=-1` | a reboot or panic is a triple fault, which the vmm sees at once |
/// | `pci=noearly` | do not look for quirks of chipsets, through ports that do not exist |
/// | `tsc=reliable no_timer_check` | do not watch the clock with one that does not exist |
/// | `random.trust_cpu=on` | early random numbers without waiting; the agent adds the host's |
pub const RECOMMENDED_KERNEL_CMDLINE: &str = "console=ttyS0 loglevel=3 8250.nr_uarts=1 \
    reboot=t panic=-1 pci=noearly tsc=reliable no_timer_check random.trust_cpu=on";

/// The compiled descriptors of everything above, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The vsock port on which the guest agent serves gRPC.
pub const AGENT_VSOCK_PORT: u32 = 1024;

/// The largest data chunk in any stream message, in bytes.
pub const MAX_CHUNK_BYTES: usize = 1 << 20;

/// The largest gRPC message either side accepts, in bytes: one chunk and its envelope, with room to spare.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;
