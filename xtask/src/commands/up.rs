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
/// Where the HTTP gateway is on 127.0.0.1.
pub const GATEWAY_PORT: u16 = 7080;
/// The name of the hostd that `up` starts.
pub const NAME: &str = "hostd";

/// Leave a hostd running on 127.0.0.1:7070, with the default image and its snapshot.
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
    for port in [API_PORT, GATEWAY_PORT] {
        host.end_forward(port);
    }
    service.stop()?;
    for port in [API_PORT, GATEWAY_PORT] {
        check_free(port)?;
    }
    let deployment = Deployment::new(&host, &products)?;
    let snapshots = snapshot::ensure(&host, &products, &deployment)?;
    let token_file = paths::cache()?.join("token");
    let token = new_token(&token_file)?;

    let step = progress::step(format!("starting hostd on {}", host.describe()));
    let options = Options {
        tcp: Some((API_PORT, &token)),
        snapshots: Some(&snapshots),
        arguments: "",
    };
    let running = service.start(&deployment, &options)?;
    for port in [API_PORT, GATEWAY_PORT] {
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
         `cargo xtask down` stops it.",
        host.describe(),
        token_file.display(),
        products.program("thaw")?.display()
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
    let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
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
