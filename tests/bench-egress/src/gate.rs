//! Our proxy, as hostd runs it for a sandbox: in a process of its own, so that its memory and time are its own.
//!
//! Nobody listens to the audit, as in a hostd whose events nobody watches: it decides and counts. nginx writes no log, either.

use std::fs;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;

use egress::gate::{Egress, EgressConfig, Gate, Limits, Shared};
use egress::intercept::authority::Authority;
use egress::policy::{Policy, PolicySpec};
use egress::resolver::Servers;
use egress::secrets::{Bindings, Hosts, Placeholder, Secret, SecretValue, Surface, Vault};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tests::world::AUTHORITY;
use tests::world::addresses::NAME_SERVER;
use tokio::io::AsyncReadExt;

use crate::room;
use crate::shares::{HOST, KEY};

/// More than any sandbox has: what a limit costs is not what is measured.
const MANY: u32 = 1 << 14;

/// Serves until standard input ends. Says before: `ready`, the descriptor of the room where clients are served, and the
/// placeholder of the key.
pub fn run(directory: &Path, open: bool) -> tests::Result {
    let room = room::make()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let placeholder = Placeholder::generate()?;
        let egress = egress(directory)?;
        let shared = shared(&egress, open.then_some(&placeholder))?;
        let gate = Gate::start(shared, room.sockets)?;
        let descriptor = room.namespace.as_raw_fd();
        println!("ready {descriptor} {}", placeholder.as_str());
        tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
        gate.close().await;
        Ok(())
    })
}

fn egress(directory: &Path) -> tests::Result<Egress> {
    let authority = fs::read(directory.join(AUTHORITY))?;
    let config = EgressConfig {
        servers: Servers::Given(vec![SocketAddr::from((NAME_SERVER, 53))]),
        extra_roots: vec![CertificateDer::from_pem_slice(&authority)?],
    };
    Ok(Egress::new(&config)?)
}

fn shared(egress: &Egress, secret: Option<&Placeholder>) -> tests::Result<Shared> {
    let policy = Policy::parse(&PolicySpec {
        allow: vec![HOST.to_owned()],
        ..PolicySpec::default()
    })?;
    let secrets = secret.into_iter().map(key).collect::<tests::Result<_>>()?;
    let vault = Vault::new(Arc::new(Bindings::new(secrets)?));
    let authority = Arc::new(Authority::generate("bench")?);
    Ok(egress.sandbox("bench", policy, vault, authority, limits()))
}

fn key(placeholder: &Placeholder) -> tests::Result<Secret> {
    let (name, value) = ("API_KEY".parse()?, SecretValue::new(KEY)?);
    let hosts = Hosts::parse(&[HOST])?;
    let surface = Surface::default();
    Ok(Secret::new(
        name,
        value,
        hosts,
        surface,
        placeholder.clone(),
    )?)
}

fn limits() -> Limits {
    let many = NonZeroU32::MIN.saturating_add(MANY);
    Limits {
        connections: MANY as usize,
        hosts: MANY as usize,
        requests: MANY as usize,
        undecided: MANY as usize,
        connections_each_second: many,
        connections_burst: many,
        ..Limits::default()
    }
}
