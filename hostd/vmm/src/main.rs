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
//! **Invariant:** paths are opened only before the jail is closed, which is before the first request is
//! heard: `/dev/kvm`, the process's own page map, and its cgroup's limits, for the number of cores.
//! Everything else comes as a descriptor.
//!
//! **Invariant:** a panic of any thread ends the process.

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
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

fn main() -> ExitCode {
    log_to_stderr();
    abort_on_panic();
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

/// Nothing that a guest does over and over again is worth a line each time: `virtio_queue` logs each
/// mistake of a driver as an error.
fn log_to_stderr() {
    let targets = Targets::new()
        .with_default(LevelFilter::INFO)
        .with_target("virtio_queue", LevelFilter::OFF);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false);
    tracing_subscriber::registry()
        .with(lines)
        .with(targets)
        .init();
}

/// A machine that lost a thread would hang. Without the process hostd knows at once.
fn abort_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::abort();
    }));
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
