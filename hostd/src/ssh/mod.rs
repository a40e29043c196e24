//! SSH from outside: for whoever knows a user name that `exposeSsh` gave out (`--ssh`).
//!
//! ```text
//! ssh, scp, sftp ── [`server`] ── who are they? a [capability](crate::capability) ── [`channel`] ── Exec of the agent ── shell, sftp
//! ```
//!
//! The user name is all that is asked for, as in Deno Sandbox. SSH ends in hostd (`russh`); what is said in a channel goes to a program
//! in the sandbox unread, also SFTP, which the agent's own program speaks in there. Nothing is forwarded.

mod channel;
mod input;
mod key;
mod server;
mod signals;

use std::str::FromStr;
use std::sync::Arc;

use crate::http::Listener;
use russh::keys::PrivateKey;

use crate::capability::Capabilities;
use crate::sandboxes::Sandboxes;

pub use key::{KeyError, load};

/// Where clients are told to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name, or its address.
    pub name: String,
    /// Its port.
    pub port: u16,
}

/// That is no host.
#[derive(Debug, thiserror::Error)]
#[error("a host is NAME or NAME:PORT")]
pub struct InvalidHost;

impl FromStr for Host {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, port.parse().map_err(|_| InvalidHost)?),
            None => (text, 22),
        };
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
        if name.is_empty() || name.starts_with('-') || !name.bytes().all(is_plain) {
            return Err(InvalidHost);
        }
        Ok(Self {
            name: name.to_owned(),
            port,
        })
    }
}

/// User names, and where they are of use.
#[derive(Debug)]
pub struct Users {
    /// Where clients connect to.
    pub host: Host,
    /// The names.
    pub names: Capabilities,
}

/// Serves until hostd has ended all sandboxes.
pub async fn serve(listener: Listener, key: PrivateKey, sandboxes: Sandboxes, users: Arc<Users>) {
    server::serve(listener.into_inner(), key, sandboxes, users).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_checked() {
        let host: Host = "ssh.example.com".parse().unwrap();
        assert_eq!((host.name.as_str(), host.port), ("ssh.example.com", 22));
        assert_eq!("127.0.0.1:2222".parse::<Host>().unwrap().port, 2222);
        for bad in ["", ":22", "a:", "a:x", "a b", "-oProxyCommand=x", "a/b"] {
            assert!(bad.parse::<Host>().is_err(), "{bad}");
        }
    }
}
