//! `cargo xtask up`

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::{
    deployment::Deployment,
    doors::{Doors, Ports},
    host::Host,
    products, progress,
    service::Service,
    snapshot,
};

/// Where everything is on 127.0.0.1.
pub const PORTS: Ports = Ports {
    api: 7070,
    gateway: 7080,
    ingress: 7081,
    ssh: 7022,
};
/// The name of the hostd that `up` starts.
pub const NAME: &str = "hostd";

/// Leave a hostd running on 127.0.0.1:7070 (gRPC) and :7080 (Deno Sandbox SDKs), with the default image and its snapshot.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Use programs that were built before, whatever the sources say.
    #[arg(long)]
    no_build: bool,
}

/// Runs the command.
///
/// # Errors
/// When a port is taken, or hostd does not start.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let products = products::get(arguments.no_build)?;
    let host = Host::ready(&products)?;
    let deployment = Deployment::new(&host, &products)?;
    let snapshots = snapshot::ensure(&host, &products, &deployment)?;

    let step = progress::step(format!("starting hostd on {}", host.describe()));
    let service = Service::new(&host, NAME);
    let doors = Doors::open(&service, &deployment, &snapshots, PORTS, "")?;
    host.keep()?;
    step.done();
    say(
        &host,
        &doors,
        &products.program("thaw")?.display().to_string(),
    );
    doors.keep();
    Ok(ExitCode::SUCCESS)
}

fn say(host: &Host, doors: &Doors<'_, '_>, thaw: &str) {
    let Ports {
        api,
        gateway,
        ingress,
        ssh,
    } = doors.ports;
    println!(
        "hostd runs on {}. To use it:\n\n\
         \x20   export THAW_ENDPOINT=http://127.0.0.1:{api}\n\
         \x20   export THAW_TOKEN_FILE={token}\n\
         \x20   {thaw} run -- uname -a\n\n\
         With the Deno Sandbox SDKs (`pip install deno-sandbox`, `npm install @deno/sandbox`):\n\n\
         \x20   export DENO_SANDBOX_ENDPOINT=http://127.0.0.1:{gateway}\n\
         \x20   export DENO_DEPLOY_ENDPOINT=http://127.0.0.1:{gateway}\n\
         \x20   export DENO_DEPLOY_TOKEN=$(cat {token})\n\n\
         What sandboxes expose is at https://NAME.boxes.localhost:{ingress} (curl --cacert {certificate})\n\
         and ssh -p {ssh} USER@127.0.0.1.\n\
         `cargo xtask down` stops it.",
        host.describe(),
        token = doors.token_file.display(),
        certificate = doors.certificate.display(),
    );
}
