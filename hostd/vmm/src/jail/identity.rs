//! Whose process this is.
#![expect(unsafe_code, reason = "prctl for capabilities has no safe wrapper")]

use nix::errno::Errno;
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use super::{JailError, failed};

/// The user and group that a vmm runs as when it was started by root.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Identity {
    /// `nobody`.
    pub const NOBODY: Self = Self {
        uid: 65534,
        gid: 65534,
    };
}

/// Becomes that user; with root's ids go all capabilities.
///
/// # Errors
///
/// When the kernel refuses.
pub fn assume(identity: Identity) -> Result<(), JailError> {
    drop_bounding_set()?;
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    setgroups(&[]).map_err(failed("leave all groups"))?;
    setresgid(gid, gid, gid).map_err(failed("change the group"))?;
    setresuid(uid, uid, uid).map_err(failed("change the user"))
}

/// No program that this process may ever start gives it anything back.
///
/// # Errors
///
/// When the kernel refuses.
pub fn seal() -> Result<(), JailError> {
    prctl::set_no_new_privs().map_err(failed("forbid new privileges"))
}

fn drop_bounding_set() -> Result<(), JailError> {
    for capability in 0.. {
        // SAFETY: the call takes numbers only.
        let dropped = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        match Errno::result(dropped) {
            Ok(_) => {}
            // Behind the last capability that this kernel has.
            Err(Errno::EINVAL) => break,
            Err(errno) => return Err(failed("drop capabilities")(errno)),
        }
    }
    Ok(())
}
