//! Addresses, and what guards them.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Args, ConfigError};

/// A shorter token could be guessed.
const MIN_TOKEN_LEN: usize = 16;
/// A longer one would not fit a client's header.
const MAX_TOKEN_LEN: usize = 1024;

/// Where a client may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// `unix:PATH`: whoever may open the socket is trusted.
    Unix(PathBuf),
    /// `tcp:ADDRESS:PORT`: a token or a client certificate is needed.
    Tcp(SocketAddr),
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::Unix(path.into()));
        }
        let address = text
            .strip_prefix("tcp:")
            .and_then(|address| address.parse().ok());
        address.map(Self::Tcp).ok_or_else(|| {
            "expected unix:PATH or tcp:ADDRESS:PORT, as in tcp:127.0.0.1:7070".into()
        })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

/// The secret that TCP clients show. Only its digest is kept, so that no log and no core dump has it,
/// and so that tokens of different lengths compare in the same time.
#[derive(Clone)]
pub struct Token {
    digest: [u8; 32],
}

impl Token {
    /// Reads the token: the file's text without surrounding white space.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            option: "--token-file",
            path: path.to_owned(),
            source,
        })?;
        let token = text.trim();
        let refuse = |problem| {
            Err(ConfigError::Token {
                path: path.to_owned(),
                problem,
            })
        };
        if !(MIN_TOKEN_LEN..=MAX_TOKEN_LEN).contains(&token.len()) {
            return refuse("a token has 16 to 1024 characters (`openssl rand -hex 32` makes one)");
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return refuse("a token is one line of printable ASCII characters without spaces");
        }
        Ok(Self {
            digest: Sha256::digest(token).into(),
        })
    }

    /// Whether a client showed this token. Takes the same time for every wrong one.
    pub fn matches(&self, shown: &[u8]) -> bool {
        let shown: [u8; 32] = Sha256::digest(shown).into();
        self.digest.ct_eq(&shown).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

/// The TCP listeners' certificates, as PEM.
#[derive(Clone)]
pub struct TlsFiles {
    /// The server's chain.
    pub cert: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
    /// Who signs clients' certificates; then every client needs one.
    pub client_ca: Option<Vec<u8>>,
}

impl TlsFiles {
    /// Reads the files that the options name; none of them means no TLS.
    pub(super) fn from_args(args: &Args) -> Result<Option<Self>, ConfigError> {
        let (cert, key) = match (&args.tls_cert, &args.tls_key) {
            (None, None) if args.client_ca.is_some() => {
                return Err(ConfigError::Tls(
                    "--client-ca needs --tls-cert and --tls-key",
                ));
            }
            (None, None) => return Ok(None),
            (Some(cert), Some(key)) => (cert, key),
            _ => return Err(ConfigError::Tls("--tls-cert and --tls-key belong together")),
        };
        Ok(Some(Self {
            cert: read("--tls-cert", cert)?,
            key: read("--tls-key", key)?,
            client_ca: args
                .client_ca
                .as_deref()
                .map(|path| read("--client-ca", path))
                .transpose()?,
        }))
    }
}

impl fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsFiles")
            .field("client_ca", &self.client_ca.is_some())
            .finish_non_exhaustive()
    }
}

fn read(option: &'static str, path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|source| ConfigError::Unreadable {
        option,
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(
            "unix:/run/x".parse(),
            Ok(ListenAddress::Unix("/run/x".into()))
        );
        assert!(matches!(
            "tcp:127.0.0.1:7070".parse(),
            Ok(ListenAddress::Tcp(_))
        ));
        for bad in ["", "unix:", "tcp:localhost", "http://x"] {
            assert!(bad.parse::<ListenAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_matches_itself_only_and_is_never_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "0123456789abcdef\n").unwrap();
        let token = Token::read(file.path()).unwrap();
        assert!(token.matches(b"0123456789abcdef"));
        assert!(!token.matches(b"0123456789abcdeg"));
        assert!(!token.matches(b""));
        assert!(!format!("{token:?}").contains("0123"));
        std::fs::write(file.path(), "short").unwrap();
        assert!(Token::read(file.path()).is_err());
    }
}
