//! What runs inside a Thaw guest.
//!
//! - [`init`]: PID 1. Takes the kernel from the initramfs to the sandbox's root file system,
//!   forks the agent and from then on only reaps.
//! - [`agent`]: the forked child. Serves `thaw.agent.v1` over vsock.
//! - [`barrier`]: when the guest may act: freeze, restore barrier, and the one state behind both.
//! - [`machine`]: the guest's kernel as the barrier sees it: entropy, clock, names, cgroup.
//! - [`processes`] and [`files`]: the two services that do the work.
//! - [`ports`]: connections to what listens in the sandbox.
//! - [`status`]: how errors look on the wire.

pub mod agent;
pub mod barrier;
pub mod files;
pub mod init;
pub mod machine;
pub mod ports;
pub mod processes;
pub mod status;
