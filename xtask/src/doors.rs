//! A hostd with all its doors open, each at a port of 127.0.0.1: the API, the gateway of the Deno Sandbox SDKs, and where
//! sandboxes are reached by HTTPS and SSH.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{
    deployment::Deployment,
    host::Host,
    paths,
    service::{Options, Running, Service},
    tools,
};

/// Below it are the names of what sandboxes expose by HTTPS. Every name below `localhost` leads to 127.0.0.1 (RFC 6761), and
/// no client takes a certificate for all that is directly below a top-level domain.
const DOMAIN: &str = "boxes.localhost";
/// Kinds of files.
const TOKEN: &str = "token";
const CERTIFICATE: &str = "pem";
const KEY: &str = "key";
/// Days that the certificate for them is valid.
const VALID_DAYS: &str = "365";

/// Ports of 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// The API.
    pub api: u16,
    /// The gateway of the SDKs.
    pub gateway: u16,
    /// What sandboxes expose by HTTPS.
    pub ingress: u16,
    /// What they expose by SSH.
    pub ssh: u16,
}

impl Ports {
    /// Four that nobody listens at.
    ///
    /// # Errors
    /// When there are no such four.
    pub fn free() -> Result<Self> {
        let listen = || TcpListener::bind("127.0.0.1:0");
        // All at once, so that none is given twice.
        let [api, gateway, ingress, ssh] = [listen()?, listen()?, listen()?, listen()?];
        let port = |listener: TcpListener| listener.local_addr().map(|address| address.port());
        Ok(Self {
            api: port(api)?,
            gateway: port(gateway)?,
            ingress: port(ingress)?,
            ssh: port(ssh)?,
        })
    }

    const fn all(self) -> [u16; 4] {
        [self.api, self.gateway, self.ingress, self.ssh]
    }

    /// Makes them lead nowhere.
    fn shut(self, host: &Host) {
        for port in self.all() {
            host.end_forward(port);
        }
    }
}

/// A running hostd that is reached through them: stopped, and nothing left of it, when this is dropped, unless it is to be
/// kept.
#[derive(Debug)]
pub struct Doors<'s, 'a> {
    /// Where it is reached.
    pub ports: Ports,
    /// The file with the token that all of them ask for.
    pub token_file: PathBuf,
    /// The certificate by which clients know its HTTPS.
    pub certificate: PathBuf,
    service: &'s Service<'a>,
    /// Absent once it is kept or stopped.
    running: Option<Running<'s, 'a>>,
}

impl<'s, 'a> Doors<'s, 'a> {
    /// Starts the hostd, instead of one with this name that runs, with `more` arguments.
    ///
    /// # Errors
    /// When a port is taken, or it does not start.
    pub fn open(
        service: &'s Service<'a>,
        deployment: &Deployment,
        snapshots: &str,
        ports: Ports,
        more: &str,
    ) -> Result<Self> {
        let host = service.host();
        ports.shut(host);
        service.stop()?;
        for port in ports.all() {
            check_free(port)?;
        }
        let token_file = file_here(service, TOKEN)?;
        let token = new_token(&token_file)?;
        let certificate = file_here(service, CERTIFICATE)?;
        let key = new_certificate(&certificate)?;

        let address = host.listen_address();
        let Ports {
            api,
            gateway,
            ingress,
            ssh,
        } = ports;
        let arguments = format!(
            " --gateway {address}:{gateway} \
             --ingress {address}:{ingress} --ingress-domain {DOMAIN}:{ingress} \
             --ingress-cert {} --ingress-key {} \
             --ssh {address}:{ssh} --ssh-host 127.0.0.1:{ssh}{more}",
            service.file(CERTIFICATE),
            service.file(KEY),
        );
        let options = Options {
            tcp: Some((api, &token)),
            snapshots: Some(snapshots),
            files: &[(CERTIFICATE, &fs::read(&certificate)?), (KEY, &key)],
            arguments: &arguments,
        };
        let running = service.start(deployment, &options);
        let running = running.inspect_err(|_| drop(remove_files(service)))?;
        let doors = Self {
            ports,
            token_file,
            certificate,
            service,
            running: Some(running),
        };
        for port in ports.all() {
            host.forward(port)?;
        }
        Ok(doors)
    }

    /// Leaves all as it is.
    pub fn keep(mut self) {
        if let Some(running) = self.running.take() {
            running.keep();
        }
    }

    /// Stops it, and leaves nothing.
    ///
    /// # Errors
    /// When it does not end.
    pub fn close(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let Some(running) = self.running.take() else {
            return Ok(());
        };
        self.ports.shut(self.service.host());
        running.stop()?;
        remove_files(self.service)
    }
}

impl Drop for Doors<'_, '_> {
    /// On the way of an error, which is what gets told.
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Removes what clients of this hostd need, if it is there.
///
/// # Errors
/// When that is not possible.
pub fn remove_files(service: &Service<'_>) -> Result<()> {
    for kind in [TOKEN, CERTIFICATE] {
        let path = file_here(service, kind)?;
        if path.exists() {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// A file that clients need.
fn file_here(service: &Service<'_>, kind: &str) -> Result<PathBuf> {
    Ok(paths::cache()?.join(format!("{}.{kind}", service.name())))
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
    file.write_all(token.as_bytes())?;
    fs::rename(new, path)?;
    Ok(token)
}

/// Writes a certificate for all that is below [`DOMAIN`] to `path`, and returns its private key.
fn new_certificate(path: &Path) -> Result<Vec<u8>> {
    tools::ensure(tools::CERTIFICATES)?;
    let names = format!("subjectAltName=DNS:*.{DOMAIN}");
    let only = format!("nameConstraints=critical,permitted;DNS:{DOMAIN}");
    let mut openssl = Command::new("openssl");
    openssl
        .args(["req", "-x509", "-batch", "-noenc", "-newkey", "ec"])
        .args(["-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-subj", "/CN=Thaw on this machine", "-addext", &names])
        // Whoever trusts it, trusts it for these names alone.
        .args(["-addext", &only])
        .args(["-days", VALID_DAYS, "-keyout", "-", "-out"])
        .arg(path);
    let made = openssl.output().context("cannot start openssl")?;
    ensure!(
        made.status.success(),
        "openssl makes no certificate: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    Ok(made.stdout)
}
