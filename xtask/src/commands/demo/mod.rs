//! `cargo xtask demo`

mod clones;
mod secrets;
mod thaw;

use std::{net::TcpListener, process::ExitCode};

use anyhow::Result;
use clap::Args;

use self::thaw::Thaw;
use crate::{
    deployment::Deployment,
    doors,
    host::Host,
    lease::Lease,
    paths,
    products::{self, Products},
    progress,
    service::{Options, Service},
    snapshot,
    world::World,
};

/// Build everything, restore sandboxes from a snapshot, and run programs in them.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Use programs that were built before, whatever the sources say.
    #[arg(long)]
    no_build: bool,
}

/// Runs the command.
///
/// # Errors
/// When anything does not go as it should.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let products = products::get(arguments.no_build)?;
    let lease = Lease::take(&products)?;
    let host = &lease.host;
    let deployment = Deployment::new(host, &products)?;
    let snapshots = snapshot::ensure(host, &products, &deployment)?;
    demonstrate(host, &products, &deployment, &snapshots)?;
    lease.end()?;
    println!("\nThat was Thaw. `cargo xtask up` leaves a hostd running for you.");
    Ok(ExitCode::SUCCESS)
}

/// Shows it all against a hostd of its own.
///
/// # Errors
/// When anything does not go as it should.
pub fn demonstrate(
    host: &Host,
    products: &Products,
    deployment: &Deployment,
    snapshots: &str,
) -> Result<()> {
    // A port and a name of its own: it works beside what `up` has started.
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let token_file = paths::cache()?.join("demo.token");
    let token = doors::new_token(&token_file)?;
    let service = Service::new(host, "demo");
    let world = World::start(host, deployment)?;
    let options = Options {
        tcp: Some((port, &token)),
        snapshots: Some(snapshots),
        arguments: &world.hostd_arguments(),
        ..Options::default()
    };
    let running = service.start(deployment, &options)?;
    host.forward(port)?;
    let thaw = Thaw {
        program: products.program("thaw")?.clone(),
        endpoint: format!("http://127.0.0.1:{port}"),
        token_file,
    };
    progress::say(format!("hostd runs on {}", host.describe()));
    let shown = clones::show(&thaw).and_then(|()| secrets::show(&thaw, &world));

    host.end_forward(port);
    running.stop()?;
    world.close()?;
    std::fs::remove_file(&thaw.token_file)?;
    shown
}

fn title(text: &str) {
    println!("\n— {text}");
}
