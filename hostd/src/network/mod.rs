//! The sandboxes' networks: a namespace from [`net`], and the only way out of it from [`egress`].
//!
//! [`Networks`] is the host's part. An [`Attachment`] is one sandbox's: made when its machine is, mute until the machine has
//! passed its barrier, gone with it.

mod attachment;
mod kept;
mod spec;
mod trust;

pub use attachment::{Attachment, NetworkFigures};
pub use kept::Kept;
pub use spec::{NetworkLimits, NetworkSpec, ResolvedNetwork, SecretSpec};
pub use trust::variables;

use std::path::PathBuf;
use std::sync::Arc;

use egress::audit::AuditLog;
use egress::gate::{Egress, EgressConfig, EgressError};
use egress::resolver::Servers;
use net::Pool;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::config::{NetworkConfig, NetworkMode};
use crate::error::{Error, Result, chain};
use crate::id::SandboxId;

/// What all sandboxes' networks share.
pub struct Networks {
    pool: Pool,
    egress: Egress,
    /// The secrets of saved sandboxes.
    pub kept: Kept,
}

/// Why there are no networks.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel, or our rights.
    #[error("sandboxes cannot have networks here{}", advice(.0))]
    Host(#[source] net::Error),
    /// The proxy.
    #[error("the egress proxy cannot be set up")]
    Egress(#[from] EgressError),
    /// A file of authorities.
    #[error("--upstream-ca {path}: {problem}")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

fn advice(error: &net::Error) -> String {
    error
        .advice()
        .map_or_else(String::new, |advice| format!(" ({advice})"))
}

impl Networks {
    /// Starts them, when they are wanted and this host can. What keeps it from it is told when they are wanted at any price,
    /// and logged otherwise.
    pub fn start(config: &NetworkConfig) -> Result<Option<Self>, NetworkError> {
        match (config.mode, Self::new(config)) {
            (NetworkMode::Off, _) => Ok(None),
            (_, Ok(networks)) => Ok(Some(networks)),
            // A wrong option is a mistake in either case.
            (NetworkMode::On, Err(error)) | (_, Err(error @ NetworkError::Authorities { .. })) => {
                Err(error)
            }
            (NetworkMode::Auto, Err(error)) => {
                tracing::warn!(error = %chain(&error), "sandboxes have no networks");
                Ok(None)
            }
        }
    }

    fn new(config: &NetworkConfig) -> Result<Self, NetworkError> {
        let mut extra_roots = Vec::new();
        for path in &config.upstream_ca {
            extra_roots.extend(authorities(path)?);
        }
        let servers = match config.name_servers.as_slice() {
            [] => Servers::System,
            servers => Servers::Given(servers.iter().map(|server| server.0).collect()),
        };
        let egress = Egress::new(&EgressConfig {
            servers,
            extra_roots,
        })?;
        net::probe().map_err(NetworkError::Host)?;
        Ok(Self {
            pool: Pool::new(config.pool).map_err(NetworkError::Host)?,
            egress,
            kept: Kept::default(),
        })
    }

    /// A network for a sandbox. One that is to reach nothing has a tap without anything behind it.
    pub fn attach(
        &self,
        id: &SandboxId,
        resolved: Option<&ResolvedNetwork>,
    ) -> Result<(Option<Arc<Attachment>>, Tap)> {
        let network = self.pool.take().map_err(|error| Error::Host {
            doing: "making a network".into(),
            cause: chain(&error),
        })?;
        let Some(resolved) = resolved else {
            return Ok((None, network.tap));
        };
        let (attachment, tap) = Attachment::new(&self.egress, network, id, resolved)?;
        Ok((Some(attachment), tap))
    }

    /// How many are made and not in use.
    pub fn ready(&self) -> usize {
        self.pool.ready()
    }

    /// What is decided about connections and requests.
    pub fn decisions(&self) -> &AuditLog {
        self.egress.audit()
    }
}

impl std::fmt::Debug for Networks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Networks").finish_non_exhaustive()
    }
}

/// The end of a network that goes to the machine.
pub type Tap = std::os::fd::OwnedFd;

fn authorities(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, NetworkError> {
    let failed = |problem: String| NetworkError::Authorities {
        path: path.clone(),
        problem,
    };
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
    let certificates: Vec<_> = certificates
        .collect::<Result<_, _>>()
        .map_err(|error| failed(error.to_string()))?;
    if certificates.is_empty() {
        return Err(failed("no certificate is in it".into()));
    }
    Ok(certificates)
}
