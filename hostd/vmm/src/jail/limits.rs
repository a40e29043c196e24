//! Process attributes: core dumps, tracing, death with the parent.

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::getppid;

use super::{JailError, failed};

/// No core file, and nobody but root may trace this process or read its memory.
pub fn apply() -> Result<(), JailError> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(failed("forbid core dumps"))?;
    prctl::set_dumpable(false).map_err(failed("forbid tracing"))
}

/// Asks the kernel to kill this process when its parent dies.
///
/// The closed control socket says the same, but only to a vmm that still listens.
pub fn die_with_parent() -> Result<(), JailError> {
    let parent = getppid();
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(failed("tie our life to the parent's"))?;
    if getppid() != parent {
        return Err(JailError::Orphan);
    }
    Ok(())
}
