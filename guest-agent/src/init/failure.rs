//! What can go wrong before there is an agent, and how that is said.

use std::time::Duration;

use nix::errno::Errno;

/// Why the guest cannot boot.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// A disk did not appear.
    #[error("no {device} after {} s", waited.as_secs())]
    NoDisk {
        /// The device node that was waited for.
        device: &'static str,
        /// How long.
        waited: Duration,
    },
    /// A mount failed.
    #[error("mounting {source_name} on {target}: {errno}")]
    Mount {
        /// Device or file system.
        source_name: &'static str,
        /// Where.
        target: &'static str,
        /// Why not.
        errno: Errno,
    },
    /// Another system call failed.
    #[error("{operation}: {errno}")]
    Call {
        /// The call, with its object.
        operation: &'static str,
        /// Why not.
        errno: Errno,
    },
    /// The files of the machine's identity cannot be set up.
    #[error(transparent)]
    Identity(#[from] crate::machine::MachineError),
    /// A boot step failed, and kernel modules that it may have needed were not loaded.
    #[error("{error} (kernel modules not loaded: {})", modules.join("; "))]
    WithoutModules {
        /// What failed.
        error: Box<BootError>,
        /// The modules, each with the reason.
        modules: Vec<String>,
    },
}

impl BootError {
    /// For `map_err`: names the call that an errno came from.
    pub(super) fn call(operation: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::Call { operation, errno }
    }

    /// Adds what module loading had to say, which is the usual cause of a missing disk.
    pub(super) fn with_missing_modules(self, modules: Vec<String>) -> Self {
        if modules.is_empty() {
            return self;
        }
        Self::WithoutModules {
            error: Box::new(self),
            modules,
        }
    }
}

/// Says on the console why the guest cannot boot and resets the machine.
pub fn give_up(error: &BootError) -> ! {
    super::end::reset(&format!("boot failed: {error}"))
}
