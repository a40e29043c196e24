//! Process attributes: core dumps, tracing, the heap, death with the parent.
#![expect(unsafe_code, reason = "mallopt has no safe wrapper")]

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::getppid;

use super::{JailError, failed};

/// No core file, and nobody but root may trace this process or read its memory.
pub fn apply() -> Result<(), JailError> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(failed("forbid core dumps"))?;
    // A heap for each thread would cost memory in every sandbox; vCPU threads allocate next to nothing.
    // SAFETY: no other thread exists yet that could be allocating.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
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
