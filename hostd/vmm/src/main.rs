//! `vmm`: one virtual machine in one process, for hostd.
//!
//! ```text
//!   vmm [--uid N] [--gid N] [--seccomp kill|log|off]   serve the socket that is descriptor 3
//!   vmm --probe                                        measure this host's KVM, one line of JSON
//!   vmm --version
//! ```
//!
//! | folder | what |
//! |---|---|
//! | [`control`] | the socket: requests, replies, events |
//! | [`config`] | from messages to checked descriptions |
//! | [`machine`] | memory, vCPU threads, devices |
//! | [`boot`] | kernel, ACPI, CPUID: what a cold boot needs |
//! | [`state`] | what a saved machine is |
//! | [`kvm`] | the one seam to KVM |
//! | [`jail`] | namespaces, identity, seccomp |
//! | [`probe`] | is KVM here, and is it any good |
//!
//! **Invariant:** the process opens two paths, `/dev/kvm` and its own page map, before it hears the first
//! request; everything else comes as a descriptor.

mod args;
mod boot;
mod config;
mod control;
mod jail;
mod kvm;
mod machine;
mod probe;
mod state;

use std::process::ExitCode;

use args::{Args, Serve};
use control::channel::Channel;
use control::failure::{HostError, chain};
use control::session::{Session, SessionError};
use jail::seccomp::Filters;
use machine::Prepared;
use machine::vcpus::IdleThread;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    match Args::parse(std::env::args().skip(1)) {
        Ok(Args::Version) => println!("vmm {}", env!("CARGO_PKG_VERSION")),
        Ok(Args::Probe) => println!("{}", probe::run()),
        Ok(Args::Serve(options)) => {
            if let Err(error) = serve(options) {
                tracing::error!("{}", chain(&error));
                return ExitCode::FAILURE;
            }
        }
        Err(error) => {
            eprintln!("vmm: {error}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn serve(options: Serve) -> Result<(), SessionError> {
    let channel = Channel::inherit()?;
    let filters = Filters::compile(options.on_violation)?;
    let prepared = Prepared::new();
    jail::enter(options.identity)?;
    let first_thread = IdleThread::prepare(&filters.vcpu).map_err(HostError::threads)?;
    filters.device.install()?;
    Session::new(channel, prepared, first_thread, filters)?.run()
}
