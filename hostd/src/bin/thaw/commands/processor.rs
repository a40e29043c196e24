//! What a secret on the command line becomes in requests.

use protocol::hostd::v1::hmac_processor::{Algorithm, Encoding};
use protocol::hostd::v1::secret_processor::Kind;
use protocol::hostd::v1::{AwsSigV4Processor, HmacProcessor, SecretProcessor};

/// `NAME=hmac-sha256` and its like, or `NAME=aws:ACCESS_KEY_ID`.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessorOption {
    pub name: String,
    pub kind: Kind,
}

impl ProcessorOption {
    pub fn parse(text: &str) -> Result<Self, String> {
        let form = || {
            "must be NAME=hmac-sha256 (or -sha512, -sha1), or NAME=aws:ACCESS_KEY_ID; \
             tokens (JWT, OAuth 2.0) are made through the API"
                .to_owned()
        };
        let (name, kind) = text.split_once('=').ok_or_else(form)?;
        let hmac = |algorithm: Algorithm| {
            Kind::Hmac(HmacProcessor {
                algorithm: algorithm.into(),
                encoding: Encoding::Hex.into(),
            })
        };
        let kind = match (kind, kind.strip_prefix("aws:")) {
            ("hmac-sha256", _) => hmac(Algorithm::Sha256),
            ("hmac-sha512", _) => hmac(Algorithm::Sha512),
            ("hmac-sha1", _) => hmac(Algorithm::Sha1),
            (_, Some(id)) if !id.is_empty() => Kind::AwsSigv4(AwsSigV4Processor {
                access_key_id: id.to_owned(),
            }),
            _ => return Err(form()),
        };
        Ok(Self {
            name: name.to_owned(),
            kind,
        })
    }

    /// As the API has it.
    pub fn processor(&self) -> SecretProcessor {
        SecretProcessor {
            kind: Some(self.kind.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_one_of_a_few() {
        let aws = ProcessorOption::parse("KEY=aws:AKIDEXAMPLE").unwrap();
        let id = |kind| match kind {
            Kind::AwsSigv4(aws) => aws.access_key_id,
            other => panic!("{other:?}"),
        };
        assert_eq!((&aws.name[..], &id(aws.kind)[..]), ("KEY", "AKIDEXAMPLE"));
        for kind in ["hmac-sha256", "hmac-sha512", "hmac-sha1"] {
            let option = ProcessorOption::parse(&format!("KEY={kind}")).unwrap();
            assert!(matches!(option.kind, Kind::Hmac(_)));
        }
        for bad in ["", "KEY", "KEY=", "KEY=hmac", "KEY=aws:", "KEY=jwt"] {
            assert!(ProcessorOption::parse(bad).is_err(), "{bad}");
        }
    }
}
