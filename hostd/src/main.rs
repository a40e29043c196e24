//! `hostd`: reads like what happens when it starts.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use hostd::capability::Capabilities;
use hostd::config::{Args, Config};
use hostd::database::Database;
use hostd::gateway::{self, Exposure};
use hostd::host::cgroup::Cgroups;
use hostd::host::dumps;
use hostd::host::limits::raise_open_files;
use hostd::http::{ListenError, Listener};
use hostd::ingress::{self, Names};
use hostd::metrics;
use hostd::recovery::recover;
use hostd::sandboxes::Sandboxes;
use hostd::server::Listeners;
use hostd::services::Services;
use hostd::ssh::{self, Users};
use hostd::state_dir::StateDir;
use hostd::tenancy::Tokens;
use tikv_jemallocator::Jemalloc;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// A proxied request is some dozens of small allocations: with glibc's allocator it takes a seventh longer.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    match start_logging(&args).and_then(|()| run(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hostd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(args: Args) -> anyhow::Result<()> {
    dumps::forbid();
    let config = Config::from_args(args)?;
    let stop = stop_on_signals()?;
    raise_open_files();

    let state_dir = StateDir::open(&config.state_dir)?;
    let database = Database::open(&state_dir.database())?;
    let cgroups = Cgroups::open(state_dir.root());
    recover(&state_dir, &database, cgroups.as_ref()).await?;

    let listeners = Listeners::bind(&config).await?;
    let metrics = listener("--metrics", config.metrics).await?;
    let gateway = listener("--gateway", config.gateway).await?;
    let (ingress, names) = match config.ingress.clone() {
        Some(ingress) => {
            let listener = Listener::bind("--ingress", ingress.address).await?;
            let names = Names::below(ingress.domain).context("a key for names of sandboxes")?;
            (Some(listener.secured(ingress.tls)), Some(Arc::new(names)))
        }
        None => (None, None),
    };
    let (ssh, users) = match config.ssh.clone() {
        Some((address, host)) => {
            let key = ssh::load(&state_dir.ssh_host_key())?;
            let listener = Listener::bind("--ssh", address).await?;
            let names = Capabilities::generate().context("a key for names of users")?;
            let users = Arc::new(Users { host, names });
            (Some((listener, key)), Some(users))
        }
        None => (None, None),
    };
    let exposure = Exposure {
        http: names.clone(),
        ssh: users.clone(),
    };
    let tokens = Tokens::load(database.clone()).await?;
    let services = Services::start(config, state_dir, database, tokens, cgroups, stop)?;
    let sandboxes = Sandboxes::new(services.clone());
    for address in listeners.addresses() {
        println!("hostd {}: listening on {address}", hostd::VERSION);
    }
    if let Some(listener) = metrics {
        println!(
            "hostd {}: metrics on {}",
            hostd::VERSION,
            listener.address()
        );
        tokio::spawn(metrics::serve(listener, sandboxes.clone()));
    }
    if let Some(listener) = gateway {
        println!(
            "hostd {}: gateway on {}",
            hostd::VERSION,
            listener.address()
        );
        tokio::spawn(gateway::serve(listener, sandboxes.clone(), exposure));
    }
    if let (Some(listener), Some(names)) = (ingress, names) {
        println!(
            "hostd {}: ingress on {}",
            hostd::VERSION,
            listener.address()
        );
        tokio::spawn(ingress::serve(listener, sandboxes.clone(), names));
    }
    if let (Some((listener, key)), Some(users)) = (ssh, users) {
        println!("hostd {}: ssh on {}", hostd::VERSION, listener.address());
        tokio::spawn(ssh::serve(listener, key, sandboxes.clone(), users));
    }
    let served = listeners.serve(sandboxes).await;

    tracing::info!("ending all sandboxes");
    services.stop().await;
    served.context("serving")
}

/// What is served on an address of its own, if it is wanted.
async fn listener(
    option: &'static str,
    address: Option<SocketAddr>,
) -> Result<Option<Listener>, ListenError> {
    match address {
        Some(address) => Listener::bind(option, address).await.map(Some),
        None => Ok(None),
    }
}

/// The first signal ends hostd in order.
fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Its terminal is closed.
    let mut hang_up = signal(SignalKind::hangup())?;
    let stopping = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hang_up.recv() => {}
        }
        stopping.cancel();
    });
    Ok(stop)
}

/// Logs go to stderr; stdout has only the addresses.
fn start_logging(args: &Args) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log).with_context(|| format!("--log {:?}", args.log))?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if args.log_json {
        logs.json().init();
    } else {
        logs.init();
    }
    Ok(())
}
