//! Limits of this process.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Lets hostd open as many files as it may: each sandbox needs some, and the usual soft limit is 1024.
pub fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "cannot raise the limit on open files");
    }
}
