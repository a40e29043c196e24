//! `cargo xtask up`

use std::{
    fs, io::Read, net::TcpListener, os::unix::fs::OpenOptionsExt, path::Path, process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Args;

use crate::{
    deployment::Deployment,
    host::Host,
    paths, products, progress,
    service::{Options, Service},
    snapshot,
};

/// Where the API is on 127.0.0.1.
pub const API_PORT: u16 = 7070;
/// Where the gateway of the Deno Sandbox SDKs is on 127.0.0.1.
pub const GATEWAY_PORT: u16 = 7080;
/// Where what sandboxes expose by HTTP is on 127.0.0.1.
const INGRESS_PORT: u16 = 7081;
/// Where what they expose by SSH is on 127.0.0.1.
const SSH_PORT: u16 = 7022;
/// All of them.
const PORTS: [u16; 4] = [API_PORT, GATEWAY_PORT, INGRESS_PORT, SSH_PORT];
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
    let service = Service::new(&host, NAME);
    for port in PORTS {
        host.end_forward(port);
    }
    service.stop()?;
    for port in PORTS {
        check_free(port)?;
    }
    let deployment = Deployment::new(&host, &products)?;
    let snapshots = snapshot::ensure(&host, &products, &deployment)?;
    let token_file = paths::cache()?.join("token");
    let token = new_token(&token_file)?;

    let step = progress::step(format!("starting hostd on {}", host.describe()));
    let address = host.listen_address();
    // Every name below `localhost` leads to 127.0.0.1 (RFC 6761).
    let arguments = format!(
        " --gateway {address}:{GATEWAY_PORT} \
         --ingress {address}:{INGRESS_PORT} --ingress-domain localhost:{INGRESS_PORT} \
         --ssh {address}:{SSH_PORT} --ssh-host 127.0.0.1:{SSH_PORT}"
    );
    let options = Options {
        tcp: Some((API_PORT, &token)),
        snapshots: Some(&snapshots),
        arguments: &arguments,
    };
    let running = service.start(&deployment, &options)?;
    for port in PORTS {
        host.forward(port)?;
    }
    host.keep()?;
    running.keep();
    step.done();
    println!(
        "hostd runs on {}. To use it:\n\n\
         \x20   export THAW_ENDPOINT=http://127.0.0.1:{API_PORT}\n\
         \x20   export THAW_TOKEN_FILE={}\n\
         \x20   {} run -- uname -a\n\n\
         With the Deno Sandbox SDKs (`pip install deno-sandbox`, `npm install @deno/sandbox`):\n\n\
         \x20   export DENO_SANDBOX_ENDPOINT=http://127.0.0.1:{GATEWAY_PORT}\n\
         \x20   export DENO_DEPLOY_ENDPOINT=http://127.0.0.1:{GATEWAY_PORT}\n\
         \x20   export DENO_DEPLOY_TOKEN=$(cat {})\n\n\
         What sandboxes expose is at http://NAME.localhost:{INGRESS_PORT} and ssh -p {SSH_PORT} USER@127.0.0.1.\n\
         `cargo xtask down` stops it.",
        host.describe(),
        token_file.display(),
        products.program("thaw")?.display(),
        token_file.display()
    );
    Ok(ExitCode::SUCCESS)
}

fn check_free(port: u16) -> Result<()> {
    TcpListener::bind(("127.0.0.1", port))
        .map(drop)
        .with_context(|| format!("port {port} of 127.0.0.1 is taken; end what listens there"))
}

/// Writes a new token to `path`, for this user's eyes only, and returns it.
pub fn new_token(path: &Path) -> Result<String> {
    let mut bytes = [0; 32];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    // The JavaScript SDK takes no other for one.
    let token = format!("ddo_{digits}");
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    let mut file = fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    std::io::Write::write_all(&mut file, token.as_bytes())?;
    fs::rename(new, path)?;
    Ok(token)
}
