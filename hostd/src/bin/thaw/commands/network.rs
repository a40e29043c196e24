//! Options of a sandbox's network: what it may reach, and the secrets that are put in on the way.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use clap::Args;
use protocol::hostd::v1::secret::Material;
use protocol::hostd::v1::{Network, NetworkPolicy, Secret, SecretInheritance, SecretSurface};

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
    /// The secrets also replace their placeholders in paths and queries and, with `body`, in bodies and WebSocket texts
    #[arg(long, value_enum, value_name = "WHERE", requires = "secret")]
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

/// A secret whose value is in a variable of ours.
#[derive(Clone)]
struct SecretOption {
    name: String,
    value: Vec<u8>,
    hosts: Vec<String>,
}

impl std::fmt::Debug for SecretOption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretOption({} for {:?})", self.name, self.hosts)
    }
}

impl SecretOption {
    fn parse(text: &str) -> Result<Self, String> {
        Self::with(text, |name| std::env::var_os(name))
    }

    fn with(text: &str, variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, String> {
        let form = || "must be NAME=ENV@HOST or NAME=ENV@HOST,HOST".to_owned();
        let (name, rest) = text.split_once('=').ok_or_else(form)?;
        let (env, hosts) = rest.split_once('@').ok_or_else(form)?;
        let hosts: Vec<String> = hosts.split(',').map(str::to_owned).collect();
        if name.is_empty() || env.is_empty() || hosts.iter().any(String::is_empty) {
            return Err(form());
        }
        let missing = || format!("the variable {env} is not set; export it first");
        Ok(Self {
            name: name.to_owned(),
            value: variable(env).ok_or_else(missing)?.into_vec(),
            hosts,
        })
    }
}

impl NetworkOptions {
    /// The network; `None` when no option asked for one.
    pub fn network(&self) -> Option<Network> {
        if self.allow_net.is_empty() && !self.inherit_secrets {
            return None;
        }
        let inheritance = match self.inherit_secrets {
            true => SecretInheritance::Inherit,
            false => SecretInheritance::Deny,
        };
        Some(Network {
            policy: Some(NetworkPolicy {
                allow: self.allow_net.clone(),
                deny: self.deny_net.clone(),
                allow_by_default: false,
            }),
            secrets: self
                .secret
                .iter()
                .map(|secret| self.secret(secret))
                .collect(),
            limits: None,
            inheritance: inheritance.into(),
        })
    }

    fn secret(&self, secret: &SecretOption) -> Secret {
        let at = |place| self.secret_in.contains(&place);
        Secret {
            name: secret.name.clone(),
            material: Some(Material::Value(secret.value.clone())),
            hosts: secret.hosts.clone(),
            surface: Some(SecretSurface {
                path: at(Place::Path),
                query: at(Place::Query),
                body: at(Place::Body),
                websocket: at(Place::Body),
                ..SecretSurface::default()
            }),
            placeholder: String::new(),
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
        line.network.network()
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
    fn a_secret_has_its_value_from_a_variable() {
        let shell = |name: &str| (name == "KEY").then(|| "value".into());
        let secret = SecretOption::with("API_KEY=KEY@a.example,*.b.example", shell).unwrap();
        assert_eq!(secret.value, b"value");
        assert_eq!(secret.hosts, ["a.example", "*.b.example"]);
        assert!(!format!("{secret:?}").contains("value"));
        for bad in [
            "", "A", "A=KEY", "A=KEY@", "=KEY@h", "A=@h", "A=KEY@h,", "A=NONE@h",
        ] {
            assert!(SecretOption::with(bad, shell).is_err(), "{bad}");
        }
    }
}
