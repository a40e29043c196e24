//! What the operator asked for: [`args`] as typed, [`Config`] checked.

pub mod args;
pub mod ingress;
mod listen;
pub mod network;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ssh;

pub use args::Args;
pub use ingress::{IngressConfig, IngressError};
pub use listen::{ListenAddress, TlsFiles, Token};
pub use network::{NameServer, NetworkConfig, NetworkMode};

/// The name of the vmm's binary, looked for beside hostd's own.
const VMM_BINARY: &str = "vmm";
/// Below this a template cache could not hold even the default image's snapshot.
const MIN_TEMPLATE_CACHE_BYTES: u64 = 64 << 20;
/// What one sandbox is reckoned to need at least when their number is limited by the host's memory.
const MEMORY_PER_SANDBOX: u64 = 64 << 20;
/// Each sandbox costs about a dozen descriptors, three processes' worth of threads and a cgroup.
const MAX_SANDBOXES: usize = 16_384;
/// More idle vmm processes or networks than this is memory wasted.
const MAX_POOL: usize = 64;

/// Why the configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A listener that anyone on the network could use.
    #[error(
        "--listen {0} needs --token-file FILE (for example: `openssl rand -hex 32 > FILE; chmod 600 FILE`) or --client-ca FILE"
    )]
    OpenListener(ListenAddress),
    /// Certificates of the ingress.
    #[error(transparent)]
    Ingress(#[from] IngressError),
    /// TLS options that do not belong together.
    #[error("{0}")]
    Tls(&'static str),
    /// A number outside of its range.
    #[error("{option} must be {range}")]
    Range {
        /// The option's name.
        option: &'static str,
        /// What is accepted.
        range: String,
    },
    /// A file named on the command line cannot be read.
    #[error("cannot read {path} ({option})")]
    Unreadable {
        /// The option's name.
        option: &'static str,
        /// Its value.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// The token file holds no usable token.
    #[error("{path}: {problem}")]
    Token {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// The vmm is not where it should be.
    #[error("no vmm binary at {0}; build it (`cargo build -p vmm`) or say where it is with --vmm")]
    NoVmm(PathBuf),
}

/// The checked configuration.
#[derive(Debug)]
pub struct Config {
    /// Where all state is.
    pub state_dir: PathBuf,
    /// Image directories, in the order they are searched; empty means the state directory's own.
    pub images: Vec<PathBuf>,
    /// Further, read-only snapshot stores.
    pub snapshots: Vec<PathBuf>,
    /// Where to serve.
    pub listen: Vec<ListenAddress>,
    /// Permission bits of unix sockets.
    pub socket_mode: u32,
    /// What TCP clients must show.
    pub token: Option<Token>,
    /// Certificates of the TCP listeners.
    pub tls: Option<TlsFiles>,
    /// The vmm's binary.
    pub vmm: PathBuf,
    /// How many vmm processes are kept ready.
    pub vmm_pool: usize,
    /// How many sandboxes may live at once.
    pub max_sandboxes: usize,
    /// How much memory unused templates may take, in bytes.
    pub template_cache_bytes: u64,
    /// How long a guest may take until its agent speaks.
    pub boot_timeout: Duration,
    /// How long records of ended sandboxes are kept.
    pub keep_records: Duration,
    /// The sandboxes' networks.
    pub network: NetworkConfig,
    /// Where to serve the Deno Sandbox SDKs.
    pub gateway: Option<SocketAddr>,
    /// What their sandboxes are made of, if they do not say.
    pub gateway_snapshot: String,
    /// How sandboxes are reached from outside.
    pub ingress: Option<IngressConfig>,
    /// Where SSH comes in, and where its clients are told to connect to.
    pub ssh: Option<(SocketAddr, ssh::Host)>,
    /// Where to serve figures.
    pub metrics: Option<SocketAddr>,
}

impl Config {
    /// Checks what was typed. Reads the token and the certificates, touches nothing.
    pub fn from_args(args: Args) -> Result<Self, ConfigError> {
        let memory = crate::host::memory::total_bytes();
        let token = args.token_file.as_deref().map(Token::read).transpose()?;
        let tls = TlsFiles::from_args(&args)?;
        let ingress = IngressConfig::from_args(&args)?;
        let config = Self {
            state_dir: args.state_dir,
            images: args.images,
            snapshots: args.snapshots,
            listen: args.listen,
            socket_mode: args.socket_mode,
            token,
            tls,
            vmm: args.vmm.unwrap_or_else(vmm_beside_us),
            vmm_pool: args.vmm_pool,
            max_sandboxes: args
                .max_sandboxes
                .unwrap_or_else(|| default_sandboxes(memory)),
            template_cache_bytes: args
                .template_cache_bytes
                .unwrap_or((memory / 4).max(MIN_TEMPLATE_CACHE_BYTES)),
            boot_timeout: args.boot_timeout,
            keep_records: args.keep_records,
            network: NetworkConfig {
                mode: args.network,
                name_servers: args.dns,
                upstream_ca: args.upstream_ca,
                pool: args.network_pool,
            },
            gateway: args.gateway,
            gateway_snapshot: args.gateway_snapshot,
            ingress,
            ssh: args.ssh.zip(args.ssh_host),
            metrics: args.metrics,
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let guarded =
            self.token.is_some() || self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        for address in &self.listen {
            if matches!(address, ListenAddress::Tcp(_)) && !guarded {
                return Err(ConfigError::OpenListener(address.clone()));
            }
        }
        in_range("--vmm-pool", self.vmm_pool as u64, 0, MAX_POOL as u64)?;
        in_range(
            "--network-pool",
            self.network.pool as u64,
            0,
            MAX_POOL as u64,
        )?;
        in_range(
            "--max-sandboxes",
            self.max_sandboxes as u64,
            1,
            MAX_SANDBOXES as u64,
        )?;
        in_range(
            "--template-cache-bytes",
            self.template_cache_bytes,
            MIN_TEMPLATE_CACHE_BYTES,
            1 << 46,
        )?;
        in_range("--socket-mode", u64::from(self.socket_mode), 0, 0o777)?;
        if !self.vmm.is_file() {
            return Err(ConfigError::NoVmm(self.vmm.clone()));
        }
        Ok(())
    }
}

fn in_range(option: &'static str, value: u64, min: u64, max: u64) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(ConfigError::Range {
        option,
        range: format!("from {min} to {max}"),
    })
}

/// The vmm's binary in the directory of the program that asks.
pub fn vmm_beside_us() -> PathBuf {
    std::env::current_exe()
        .ok()
        .and_then(|own| own.parent().map(|dir| dir.join(VMM_BINARY)))
        .unwrap_or_else(|| Path::new(VMM_BINARY).to_owned())
}

fn default_sandboxes(memory: u64) -> usize {
    usize::try_from(memory / MEMORY_PER_SANDBOX)
        .unwrap_or(MAX_SANDBOXES)
        .clamp(8, MAX_SANDBOXES)
}
