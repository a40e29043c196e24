//! Who is let in by SSH, and what of it is refused. OpenSSH's clients are in the end-to-end tests.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use russh::client::{self, AuthResult, Handle};
use russh::keys::PublicKeyOrCertificate;
use russh::{ChannelMsg, Error};
use tempfile::TempDir;

use crate::gateway::{TOKEN, post};
use crate::host::{Host, PATIENCE, boot_request};

struct Ssh {
    host: Host,
    gateway: SocketAddr,
    address: SocketAddr,
    _files: TempDir,
}

/// Trusts whoever answers.
struct Trusting;

impl client::Handler for Trusting {
    type Error = Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Error> {
        Ok(true)
    }
}

impl Ssh {
    async fn start() -> Self {
        let files = tempfile::tempdir().unwrap();
        let token = files.path().join("token");
        fs::write(&token, TOKEN).unwrap();
        let mut options = vec!["--gateway", "127.0.0.1:0", "--token-file"];
        options.push(token.to_str().unwrap());
        options.extend(["--ssh", "127.0.0.1:0", "--ssh-host", "ssh.example:2222"]);
        let host = Host::start_with(&options).await;
        Self {
            gateway: host.gateway.unwrap(),
            address: host.ssh.unwrap(),
            host,
            _files: files,
        }
    }

    /// A sandbox, and a user name for it.
    async fn exposed(&self) -> (String, String) {
        let id = self.host.create(boot_request("")).await.unwrap().id;
        let path = format!("/api/v3/sandbox/{id}/expose/ssh");
        let told = within(post(self.gateway, &path)).await;
        assert_eq!(told["hostname"], "ssh.example", "{told}");
        assert_eq!(told["port"], 2222, "{told}");
        (id, told["username"].as_str().unwrap().to_owned())
    }

    async fn connect(&self) -> Handle<Trusting> {
        let config = Arc::new(client::Config::default());
        let connecting = client::connect(config, self.address, Trusting);
        within(connecting).await.unwrap()
    }

    async fn login(&self, user: &str) -> Handle<Trusting> {
        let mut client = self.connect().await;
        let answer = within(client.authenticate_none(user)).await.unwrap();
        assert!(matches!(answer, AuthResult::Success), "{answer:?}");
        client
    }
}

async fn within<T>(doing: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, doing).await.unwrap()
}

#[tokio::test]
async fn a_user_name_is_all_that_is_asked_for() {
    let ssh = Ssh::start().await;
    let (id, user) = ssh.exposed().await;
    let (_, other) = ssh.exposed().await;
    assert_ne!(user, other);
    let client = ssh.login(&user).await;
    // The small agent has no shell, and its refusal is told.
    let mut channel = within(client.channel_open_session()).await.unwrap();
    channel.exec(true, "true").await.unwrap();
    let (mut told, mut status) = (Vec::new(), None);
    while let Some(said) = within(channel.wait()).await {
        match said {
            ChannelMsg::ExtendedData { data, ext: 1 } => told.extend_from_slice(&data),
            ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
            _ => {}
        }
    }
    assert_eq!(status, Some(126));
    assert!(
        told.starts_with(b"thaw: "),
        "{}",
        String::from_utf8_lossy(&told)
    );
    // The connection ends with its sandbox.
    ssh.host.kill(&id).await;
    let _ = within(client).await;
    let mut client = ssh.connect().await;
    let answer = within(client.authenticate_none(&user)).await.unwrap();
    assert!(!matches!(answer, AuthResult::Success), "{answer:?}");
    ssh.login(&other).await;
}

#[tokio::test]
async fn other_names_and_passwords_are_refused() {
    let ssh = Ssh::start().await;
    let (id, user) = ssh.exposed().await;
    let digits = id.strip_prefix("sbx_loc_").unwrap();
    let forged = format!("{digits}-0000000000000000000000");
    for name in ["", "root", &id, digits, &forged, &user[1..]] {
        let mut client = ssh.connect().await;
        let answer = within(client.authenticate_none(name)).await;
        assert!(!matches!(answer, Ok(AuthResult::Success)), "{name:?}");
        let answer = within(client.authenticate_password(name, "x")).await;
        assert!(!matches!(answer, Ok(AuthResult::Success)), "{name:?}");
        // Nothing is opened for who is not let in.
        assert!(within(client.channel_open_session()).await.is_err());
    }
}

#[tokio::test]
async fn nothing_is_forwarded_and_channels_are_counted() {
    let ssh = Ssh::start().await;
    let (_, user) = ssh.exposed().await;
    let client = ssh.login(&user).await;
    let to = client.channel_open_direct_tcpip("127.0.0.1", 22, "127.0.0.1", 1);
    assert!(within(to).await.is_err());
    let mut open = Vec::new();
    for _ in 0..32 {
        open.push(within(client.channel_open_session()).await.unwrap());
    }
    assert!(within(client.channel_open_session()).await.is_err());
    let mut channel = open.pop().unwrap();
    channel.request_subsystem(true, "netconf").await.unwrap();
    let answer = within(channel.wait()).await;
    assert!(matches!(answer, Some(ChannelMsg::Failure)), "{answer:?}");
}

#[tokio::test]
async fn the_host_keeps_its_key() {
    let ssh = Ssh::start().await;
    let key = ssh.host.state_dir().join("ssh_host_key");
    let before = fs::read(&key).unwrap();
    let temp = ssh.host.crash().await;
    let options = ["--gateway", "127.0.0.1:0", "--token-file"];
    let token = ssh._files.path().join("token");
    let mut options = options.to_vec();
    options.push(token.to_str().unwrap());
    options.extend(["--ssh", "127.0.0.1:0", "--ssh-host", "ssh.example"]);
    let _again = Host::start_in(temp, &options).await;
    assert_eq!(fs::read(&key).unwrap(), before);
}
