//! `thaw seal`: a secret that only one host can read.

use clap::Args;
use egress::secrets::sealed::PublicKey;
use egress::secrets::{Hosts, SecretValue};
use protocol::hostd::v1::GetSealingKeyRequest;

use super::secret::SecretOption;
use crate::client::Hostd;
use crate::error::Error;
use crate::output;

#[derive(Debug, Args)]
pub struct Seal {
    /// The value of this shell's variable ENV, to be used as NAME at these hosts and no others
    #[arg(value_name = "NAME=ENV@HOST,…", value_parser = SecretOption::parse)]
    secret: SecretOption,
    /// Seal for the host with this key; without it, hostd is asked for its own
    #[arg(long, value_name = "KEY", value_parser = str::parse::<PublicKey>)]
    key: Option<PublicKey>,
    /// Who may use it, besides the host's operator [default: with a hostd, whose token this is]
    #[arg(long, alias = "organization", value_name = "NAME")]
    organisation: Option<String>,
}

impl Seal {
    /// Whether it can be done without a hostd.
    pub fn has_key(&self) -> bool {
        self.key.is_some()
    }
}

/// Seals with the key that was given.
pub fn offline(seal: &Seal) -> Result<(), Error> {
    let key = seal.key.as_ref();
    let key = key.ok_or_else(|| Error::Usage("give --key, or reach a hostd".into()))?;
    print(&seal.secret, key, seal.organisation.as_deref())
}

/// Seals with hostd's own key.
pub async fn run(hostd: &Hostd, seal: &Seal) -> Result<(), Error> {
    let answer = hostd
        .networks()
        .get_sealing_key(GetSealingKeyRequest {})
        .await
        .map_err(Error::refused("the sealing key"))?;
    let answer = answer.into_inner();
    let key = answer.public_key.parse();
    let key = key.map_err(|error| Error::Usage(format!("hostd's sealing key: {error}")))?;
    let own = Some(answer.organisation).filter(|own| !own.is_empty());
    print(
        &seal.secret,
        &key,
        seal.organisation.clone().or(own).as_deref(),
    )
}

fn print(secret: &SecretOption, key: &PublicKey, organisation: Option<&str>) -> Result<(), Error> {
    let usage = |problem: String| Error::Usage(format!("{}: {problem}", secret.name));
    let name = secret.name.parse();
    let name = name.map_err(|_| Error::Usage("the secret's name is none".into()))?;
    let hosts = Hosts::parse(&secret.hosts).map_err(|error| usage(error.to_string()))?;
    let value = SecretValue::new(secret.value.clone()).map_err(|error| usage(error.to_string()))?;
    let sealed = key.seal(&name, &hosts, organisation, &value);
    output::line(
        &sealed
            .map_err(|error| usage(error.to_string()))?
            .to_string(),
    )
}
