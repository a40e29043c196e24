//! [`Endpoint`]: where tokens are got.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use http::uri::Scheme;
use thiserror::Error;

use crate::policy::{HostName, HostNameError, Target};

/// Bytes of a URL.
const MAX_URL: usize = 2048;

/// A token endpoint: an `https` URL whose host is a name. Whoever made the secret named it, so a sandbox's policy need not
/// allow it; but an address that is not public is dialled only if the policy has it for that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    target: Target,
    authority: String,
    path: String,
}

/// What is no token endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EndpointError {
    /// No URL, too long, or another scheme.
    #[error(
        "a token endpoint is an https URL of at most {MAX_URL} bytes, without user and fragment"
    )]
    Url,
    /// A host that is no name.
    #[error("the host of a token endpoint is a name")]
    Host(#[source] HostNameError),
}

impl Endpoint {
    /// Where it is dialled.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Host and port, as they were written.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// Path and query.
    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.parse().map_err(|_| EndpointError::Url)?;
        let authority = uri.authority().ok_or(EndpointError::Url)?;
        let secure = uri.scheme() == Some(&Scheme::HTTPS);
        let plain = !authority.as_str().contains('@') && !text.contains('#');
        if !secure || !plain || text.len() > MAX_URL {
            return Err(EndpointError::Url);
        }
        let name = HostName::parse(authority.host()).map_err(EndpointError::Host)?;
        let port = match (authority.port_u16(), authority.as_str().contains(':')) {
            (Some(port), _) if port > 0 => port,
            (None, false) => 443,
            _ => return Err(EndpointError::Url),
        };
        let path = uri.path_and_query().ok_or(EndpointError::Url)?;
        Ok(Self {
            authority: authority.to_string(),
            path: path.to_string(),
            target: Target::name(name, port),
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_https_url_of_a_name() {
        for (text, target) in [
            ("https://login.example/oauth2/token", "login.example:443"),
            (
                "https://Login.Example:8443/token?tenant=1",
                "login.example:8443",
            ),
            ("https://login.example", "login.example:443"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.target().to_string(), target);
            assert_eq!(endpoint.to_string().trim_end_matches('/'), text);
        }
        for text in [
            "",
            "/token",
            "login.example/token",
            "http://login.example/token",
            "https://user@login.example/token",
            "https://login.example/token#x",
            "https://login.example:0/token",
            "https://login.example:/token",
            "https://login.example:65536/token",
            "https://login .example/",
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(EndpointError::Url), "{text}");
        }
        for text in [
            "https://203.0.113.7/token",
            "https://[2001:db8::1]/",
            "https://a..b/",
        ] {
            let error = text.parse::<Endpoint>();
            assert!(matches!(error, Err(EndpointError::Host(_))), "{text}");
        }
    }
}
