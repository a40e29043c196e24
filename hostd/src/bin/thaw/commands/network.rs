//! Options of a sandbox's network: what it may reach, and the secrets that are put in on the way.

use clap::Args;
use egress::secrets::sealed::Sealed;
use protocol::hostd::v1::secret::Material;
use protocol::hostd::v1::{Network, NetworkPolicy, Secret, SecretInheritance, SecretSurface};

use super::processor::ProcessorOption;
use super::secret::SecretOption;
use crate::error::Error;

/// The network of a new sandbox.
#[derive(Debug, Args)]
#[command(next_help_heading = "Network (none unless one of these is given)")]
pub struct NetworkOptions {
    /// Allow these hosts, by commas: HOST, *.HOST, ADDRESS or CIDR block, with or without :PORT; '*' allows all that is public
    #[arg(long, value_name = "HOST,…", value_delimiter = ',')]
    allow_net: Vec<String>,
    /// Refuse these hosts, also when --allow-net names them
    #[arg(
        long,
        value_name = "HOST,…",
        value_delimiter = ',',
        requires = "allow_net"
    )]
    deny_net: Vec<String>,
    /// The variable NAME holds a placeholder; requests to these hosts get the value of this shell's variable ENV instead; may be
    /// repeated
    #[arg(long, value_name = "NAME=ENV@HOST,…", value_parser = SecretOption::parse, requires = "allow_net")]
    secret: Vec<SecretOption>,
    /// A secret that `thaw seal` made for this host; may be repeated
    #[arg(long, value_name = "TEXT", requires = "allow_net")]
    sealed_secret: Vec<Sealed>,
    /// Requests get a signature that is made with the secret NAME, and not its value: hmac-sha256 (or -sha512, -sha1) of the body in
    /// a header, or aws:ACCESS_KEY_ID, which signs requests to AWS again; may be repeated
    #[arg(long, value_name = "NAME=KIND", value_parser = ProcessorOption::parse, requires = "allow_net")]
    secret_as: Vec<ProcessorOption>,
    /// The secrets also replace their placeholders in paths and queries and, with `body`, in bodies and WebSocket texts
    #[arg(long, value_enum, value_name = "WHERE", requires = "allow_net")]
    secret_in: Vec<Place>,
    /// Placeholders in the snapshot's memory go on standing for the secrets of the sandbox that was saved
    #[arg(long)]
    inherit_secrets: bool,
}

/// Where a placeholder is replaced beside the headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Place {
    Path,
    Query,
    Body,
}

impl NetworkOptions {
    /// The network; `None` when no option asked for one.
    pub fn network(&self) -> Result<Option<Network>, Error> {
        if self.allow_net.is_empty() && !self.inherit_secrets {
            return Ok(None);
        }
        let inheritance = match self.inherit_secrets {
            true => SecretInheritance::Inherit,
            false => SecretInheritance::Deny,
        };
        Ok(Some(Network {
            policy: Some(NetworkPolicy {
                allow: self.allow_net.clone(),
                deny: self.deny_net.clone(),
                allow_by_default: false,
            }),
            secrets: self.secrets()?,
            limits: None,
            inheritance: inheritance.into(),
        }))
    }

    fn secrets(&self) -> Result<Vec<Secret>, Error> {
        let values = self.secret.iter().map(|secret| Secret {
            name: secret.name.clone(),
            material: Some(Material::Value(secret.value.clone())),
            hosts: secret.hosts.clone(),
            ..self.secret()
        });
        let sealed = self.sealed_secret.iter().map(|sealed| Secret {
            name: sealed.name().to_owned(),
            material: Some(Material::Sealed(sealed.to_string())),
            ..self.secret()
        });
        let mut secrets: Vec<_> = values.chain(sealed).collect();
        for option in &self.secret_as {
            let mut named = secrets.iter_mut();
            let secret = named.find(|secret| secret.name == option.name);
            let unknown = || format!("--secret-as names {}, which is no secret here", option.name);
            let secret = secret.ok_or_else(|| Error::Usage(unknown()))?;
            secret.processor = Some(option.processor());
        }
        Ok(secrets)
    }

    /// What all of them have.
    fn secret(&self) -> Secret {
        let at = |place| self.secret_in.contains(&place);
        Secret {
            surface: Some(SecretSurface {
                path: at(Place::Path),
                query: at(Place::Query),
                body: at(Place::Body),
                websocket: at(Place::Body),
                ..SecretSurface::default()
            }),
            ..Secret::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        network: NetworkOptions,
    }

    fn network(words: &[&str]) -> Option<Network> {
        let line = Line::try_parse_from(["x"].iter().chain(words)).unwrap();
        line.network.network().unwrap()
    }

    fn allowed(words: &[&str]) -> Vec<String> {
        network(words).unwrap().policy.unwrap().allow
    }

    #[test]
    fn nothing_is_reached_unless_asked_for() {
        assert_eq!(network(&[]), None);
        assert_eq!(allowed(&["--allow-net", "*"]), ["*"]);
        let several = [
            "--allow-net=a.example,*.b.example:443",
            "--allow-net",
            "c.example",
        ];
        assert_eq!(
            allowed(&several),
            ["a.example", "*.b.example:443", "c.example"]
        );
        assert!(Line::try_parse_from(["x", "--deny-net", "a.example"]).is_err());
    }

    #[test]
    fn what_a_secret_becomes_is_said_of_one_that_is_there() {
        let line = ["x", "--allow-net=a.example", "--secret-as=KEY=hmac-sha256"];
        let line = Line::try_parse_from(line).unwrap();
        let error = line.network.network().unwrap_err().to_string();
        assert!(error.contains("KEY"), "{error}");
    }
}
