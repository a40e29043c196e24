//! Keeping this process's memory out of files.

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};

/// No core file of this process is written, and no dump is piped to a collector; nobody without `CAP_SYS_PTRACE` may trace it or
/// read its memory through `/proc`. To be called before the first secret can arrive: it acts on all threads.
///
/// That protects values of secrets, tokens and keys from what a crash leaves behind, and from other processes of this
/// user. It does not protect them from root, from a kernel's own dump, from hibernation, or from swap: memory is not
/// locked, so a host with secrets has its swap encrypted or none. What is started from here gets the limit and not the
/// rest: a vmm does the same for itself.
pub fn forbid() {
    let refused = [
        setrlimit(Resource::RLIMIT_CORE, 0, 0),
        prctl::set_dumpable(false),
    ];
    for error in refused.into_iter().filter_map(Result::err) {
        tracing::warn!(%error, "a crash of this process may leave its memory in a file");
    }
}
