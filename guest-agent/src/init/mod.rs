//! PID 1: from the initramfs to a running agent.
//!
//! No program is started on the way: every step is a system call, because a fork and exec costs
//! milliseconds and the time until the agent answers is what users wait for.

mod disks;
mod end;
mod failure;
mod limits;
mod modules;
mod mounts;
mod network;
mod reaper;

use nix::unistd::{ForkResult, Pid};

use crate::machine::mount_files;

pub use failure::{BootError, give_up};
pub use reaper::reap;

/// What a process is after [`boot`] has forked.
#[derive(Debug)]
pub enum Role {
    /// PID 1, with the agent as its child.
    Init {
        /// The agent's process id.
        agent: Pid,
    },
    /// The agent.
    Agent,
}

/// Brings the guest up. Called once, by PID 1, while it has one thread.
///
/// # Errors
/// Whatever keeps the guest from having a root file system; [`give_up`] is then all that is left.
pub fn boot() -> Result<Role, BootError> {
    mounts::mount_kernel_filesystems()?;
    let missing = modules::load_all();
    let root = disks::assemble_root().map_err(|error| error.with_missing_modules(missing))?;
    modules::free_initramfs();
    mounts::switch_root(root)?;
    mounts::mount_runtime_filesystems()?;
    mount_files()?;
    network::bring_up()?;
    limits::raise()?;
    fork_agent()
}

#[expect(unsafe_code, reason = "fork")]
fn fork_agent() -> Result<Role, BootError> {
    reaper::block_signals().map_err(BootError::call("sigprocmask"))?;
    // SAFETY: PID 1 has only ever had this one thread, so the child inherits no lock that is held.
    match unsafe { nix::unistd::fork() }.map_err(BootError::call("fork"))? {
        ForkResult::Parent { child } => Ok(Role::Init { agent: child }),
        ForkResult::Child => {
            reaper::unblock_signals().map_err(BootError::call("sigprocmask"))?;
            Ok(Role::Agent)
        }
    }
}
