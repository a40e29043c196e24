//! The command line, as typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use super::{ListenAddress, NameServer, NetworkMode};
use crate::ingress::Domain;
use crate::ssh;

/// Runs Linux microVMs restored from memory snapshots, for clients over gRPC.
#[derive(Debug, Parser)]
#[command(name = "hostd", version, args_override_self = true)]
pub struct Args {
    /// Directory for the database, snapshots and running sandboxes; one hostd at a time
    #[arg(
        long,
        env = "THAW_STATE_DIR",
        default_value = "/var/lib/thaw",
        value_name = "DIR"
    )]
    pub state_dir: PathBuf,
    /// Directory of installed images; may be repeated [default: STATE/images]
    #[arg(long, value_name = "DIR")]
    pub images: Vec<PathBuf>,
    /// Further snapshot store, only read from; may be repeated
    #[arg(long, value_name = "DIR")]
    pub snapshots: Vec<PathBuf>,
    /// Where to serve gRPC: unix:PATH or tcp:ADDRESS:PORT; may be repeated
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "unix:/run/thaw/hostd.sock"
    )]
    pub listen: Vec<ListenAddress>,
    /// Permission bits of unix sockets, in octal; whoever can open one is trusted
    #[arg(long, value_name = "MODE", default_value = "0600", value_parser = octal)]
    pub socket_mode: u32,
    /// File with the bearer token that TCP clients must send
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Certificate chain (PEM) for TLS on TCP listeners
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Private key (PEM) of --tls-cert
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Only TCP clients with a certificate of this authority (PEM) are served
    #[arg(long, value_name = "FILE")]
    pub client_ca: Option<PathBuf>,
    /// The vmm binary [default: beside hostd]
    #[arg(long, value_name = "FILE")]
    pub vmm: Option<PathBuf>,
    /// How many vmm processes are kept started, so that Create need not wait for one
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub vmm_pool: usize,
    /// How many sandboxes may live at once [default: one for every 64 MiB of memory]
    #[arg(long, value_name = "N")]
    pub max_sandboxes: Option<usize>,
    /// Memory for snapshots kept ready, in bytes [default: a quarter of the host's]
    #[arg(long, value_name = "BYTES")]
    pub template_cache_bytes: Option<u64>,
    /// How long a guest may take until its agent speaks
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub boot_timeout: Duration,
    /// How long the records of ended sandboxes are kept
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = humantime::parse_duration)]
    pub keep_records: Duration,
    /// Whether sandboxes have networks, behind the egress proxy
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    pub network: NetworkMode,
    /// Name server for the names that sandboxes ask for; may be repeated [default: the host's own]
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    pub dns: Vec<NameServer>,
    /// Authorities (PEM) that vouch for upstreams, beside those that the host trusts; may be repeated
    #[arg(long, value_name = "FILE")]
    pub upstream_ca: Vec<PathBuf>,
    /// How many networks are kept ready, so that Create need not wait for one
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub network_pool: usize,
    /// Where to serve the official Deno Sandbox SDKs (DENO_SANDBOX_ENDPOINT and DENO_DEPLOY_ENDPOINT: http://ADDRESS:PORT)
    #[arg(long, value_name = "ADDRESS:PORT", requires = "token_file")]
    pub gateway: Option<std::net::SocketAddr>,
    /// The snapshot of sandboxes for which the SDKs name no `root`; it is kept ready from the start
    #[arg(long, value_name = "SNAPSHOT", default_value = "default")]
    pub gateway_snapshot: String,
    /// Where requests for what sandboxes expose (`exposeHttp`) come in
    #[arg(long, value_name = "ADDRESS:PORT", requires_all = ["gateway", "ingress_domain"])]
    pub ingress: Option<std::net::SocketAddr>,
    /// The domain whose hosts all lead to --ingress (a wildcard in DNS); with a port if clients need another than 443
    #[arg(long, value_name = "DOMAIN[:PORT]", requires = "ingress")]
    pub ingress_domain: Option<Domain>,
    /// Certificate chain (PEM) for all hosts of --ingress-domain [default: no TLS, which a proxy before it speaks]
    #[arg(long, value_name = "FILE", requires_all = ["ingress", "ingress_key"])]
    pub ingress_cert: Option<PathBuf>,
    /// Private key (PEM) of --ingress-cert
    #[arg(long, value_name = "FILE", requires = "ingress_cert")]
    pub ingress_key: Option<PathBuf>,
    /// Where SSH comes in for sandboxes that expose it (`exposeSsh`)
    #[arg(long, value_name = "ADDRESS:PORT", requires_all = ["gateway", "ssh_host"])]
    pub ssh: Option<std::net::SocketAddr>,
    /// What clients are told to connect to, so that they reach --ssh
    #[arg(long, value_name = "HOST[:PORT]", requires = "ssh")]
    pub ssh_host: Option<ssh::Host>,
    /// Where to serve figures for Prometheus, at /metrics: whoever reaches the address can read them
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub metrics: Option<std::net::SocketAddr>,
    /// What to log, for example `info` or `hostd=debug`
    #[arg(long, env = "THAW_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,
    /// Log as JSON lines
    #[arg(long)]
    pub log_json: bool,
}

fn octal(text: &str) -> Result<u32, std::num::ParseIntError> {
    u32::from_str_radix(text.trim_start_matches("0o"), 8)
}
