//! Giving up everything that a vmm does not need.
//!
//! The steps in order, and the reason for the order:
//!
//! 1. [`limits`]: no core dumps, no ptrace by equals.
//! 2. [`namespaces`]: an empty root directory, no network, no shared memory of others. Needs root, so
//!    before the ids are changed.
//! 3. [`identity`]: nobody's user and group, no capabilities, no way to get more.
//! 4. Die with the parent: changing ids clears that wish, so after them.
//! 5. [`seccomp`]: a filter for each thread, before the first request is heard.

mod capabilities;
pub mod identity;
mod limits;
mod namespaces;
mod rules;
pub mod seccomp;

use std::io;

pub use capabilities::without_sys_admin;
use identity::Identity;

/// Why the process could not be locked up.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    /// A system call was refused.
    #[error("cannot {action}")]
    Call {
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A filter could not be compiled.
    #[error("cannot compile a seccomp filter")]
    Compile(#[source] seccompiler::BackendError),
    /// A filter could not be installed.
    #[error("cannot install a seccomp filter")]
    Install(#[source] seccompiler::Error),
    /// The parent died while we were starting.
    #[error("the parent is gone")]
    Orphan,
}

/// Does steps 1 to 4. Call before the first thread is started.
///
/// # Errors
///
/// As root, when any step fails. Without root there may be no right to namespaces; then they are left out.
pub fn enter(identity: Identity) -> Result<(), JailError> {
    limits::apply()?;
    let root = nix::unistd::geteuid().is_root();
    match namespaces::enter(root) {
        Err(error) if root => return Err(error),
        Err(error) => tracing::warn!(%error, "no namespaces"),
        Ok(()) => {}
    }
    if root {
        identity::assume(identity)?;
    }
    identity::seal()?;
    limits::die_with_parent()
}

fn failed(action: &'static str) -> impl FnOnce(nix::errno::Errno) -> JailError {
    move |errno| JailError::Call {
        action,
        source: errno.into(),
    }
}
