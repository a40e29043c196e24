//! Why a vCPU came back.

/// Why a vCPU came back to the vmm.
#[derive(Debug)]
pub enum Exit<'a> {
    /// The guest reads a port; the answer goes into `data`.
    PortRead {
        /// The port.
        port: u16,
        /// 1, 2 or 4 bytes, or a multiple of that for string instructions.
        data: &'a mut [u8],
    },
    /// The guest writes a port.
    PortWrite {
        /// The port.
        port: u16,
        /// As for reads.
        data: &'a [u8],
    },
    /// The guest reads where no memory is.
    MmioRead {
        /// The guest physical address.
        address: u64,
        /// 1 to 8 bytes to fill in.
        data: &'a mut [u8],
    },
    /// The guest writes where no memory is.
    MmioWrite {
        /// The guest physical address.
        address: u64,
        /// 1 to 8 bytes.
        data: &'a [u8],
    },
    /// A kick or a signal: look at what is wanted, then go on.
    Interrupted,
    /// The processor shut down (triple fault): how Linux reboots with `reboot=t`.
    Shutdown,
    /// The processor halted with nobody to wake it. Only without the in-kernel interrupt controller.
    Halt,
    /// KVM cannot go on.
    Broken(Broken),
}

/// Why KVM cannot go on with a vCPU.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The processor refused to enter the guest.
    #[error("the processor refused to enter the guest, hardware reason {0:#x}")]
    Entry(u64),
    /// KVM met an instruction or a state that it cannot handle.
    #[error("KVM internal error")]
    Internal,
    /// An exit that the vmm never asked for.
    #[error("unexpected exit {0}")]
    Unexpected(String),
    /// `KVM_RUN` itself failed.
    #[error("KVM_RUN failed: {0}")]
    Run(std::io::Error),
}
