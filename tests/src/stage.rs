//! A small internet and a hostd that knows it, in the words of a test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::hostd::v1::create_sandbox_request::Source;
use protocol::hostd::v1::secret::Material;
use protocol::hostd::v1::{CreateSandboxRequest, Network, NetworkPolicy, Secret};

use crate::host::{HostOptions, tail};
use crate::world::World;
use crate::{Host, Sandbox};

/// A [`World`], and a [`Host`] whose sandboxes may reach it.
#[derive(Debug)]
pub struct Stage {
    _said: Said,
    /// The small internet.
    pub world: World,
    /// The hostd.
    pub host: Arc<Host>,
}

impl Stage {
    /// Makes one. There is room for one at a time.
    pub async fn start(mut options: HostOptions) -> crate::Result<Self> {
        let world = World::start().await?;
        options.extra.extend(world.hostd_options());
        options.extra.extend(["--network".into(), "on".into()]);
        let host = Host::start(options).await?;
        let said = Said {
            process: Path::new("/proc").join(host.pid().to_string()),
            log: host.log(),
        };
        Ok(Self {
            _said: said,
            world,
            host,
        })
    }

    /// A sandbox with this network.
    pub async fn sandbox(&self, source: Source, network: Network) -> crate::Result<Sandbox> {
        let request = CreateSandboxRequest {
            source: Some(source),
            network: Some(network),
            ..Default::default()
        };
        Ok(self.host.create_with(request).await?)
    }

    /// Ends the host, which checks that nothing is left.
    pub async fn end(self) -> crate::Result {
        self.host.stop().await
    }
}

/// What a host has said: shown if it still runs when its test lets go of it, which a test does that fails.
#[derive(Debug)]
struct Said {
    process: PathBuf,
    log: PathBuf,
}

impl Drop for Said {
    fn drop(&mut self) {
        if self.process.exists() {
            eprintln!("--- the stage's hostd\n{}", tail(&self.log));
        }
    }
}

/// A network that reaches these hosts.
pub fn network(allow: &[&str], secrets: Vec<Secret>) -> Network {
    let policy = NetworkPolicy {
        allow: allow.iter().map(ToString::to_string).collect(),
        ..Default::default()
    };
    Network {
        policy: Some(policy),
        secrets,
        ..Default::default()
    }
}

/// The secret `API_KEY`, bound to these hosts.
pub fn key(value: &str, hosts: &[&str]) -> Secret {
    Secret {
        name: "API_KEY".into(),
        material: Some(Material::Value(value.as_bytes().to_vec())),
        hosts: hosts.iter().map(ToString::to_string).collect(),
        ..Default::default()
    }
}
