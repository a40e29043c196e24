//! Signatures of requests: made last, of what goes out.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, request};

use super::problem::Problem;
use crate::processors::{AWS_PAYLOAD, Payload, Processor, SigV4, SigV4Asked, SigV4Error};
use crate::rewrite::{Substitution, Wanted};
use crate::secrets::SecretValue;

/// What is to be signed of one request, and with which secrets.
pub(super) struct Signing {
    macs: Vec<Wanted>,
    aws: Option<Aws>,
}

/// A request to AWS.
struct Aws {
    wanted: Wanted,
    signer: SigV4,
    asked: SigV4Asked,
}

impl Signing {
    /// Of those that a request waits for, whose other secrets are there already.
    pub(super) fn of(wanted: Vec<Wanted>, headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let mut signing = Self {
            macs: Vec::new(),
            aws: None,
        };
        for wanted in wanted {
            match wanted.secret.processor() {
                Processor::Hmac(_) => signing.macs.push(wanted),
                Processor::SigV4(signer) => {
                    let asked = SigV4Asked::read(headers, wanted.secret.placeholder());
                    let asked = asked.map_err(|error| unsigned(&wanted, error))?;
                    let signer = signer.clone();
                    signing.aws = Some(Aws {
                        wanted,
                        signer,
                        asked,
                    });
                }
                Processor::Inject | Processor::Jwt(_) | Processor::OAuth2(_) => {}
            }
        }
        let signs = !signing.macs.is_empty() || signing.aws.is_some();
        Ok(signs.then_some(signing))
    }

    /// Whether it takes the whole body. What the program said of it is good if it is not `rewritten`.
    pub(super) fn reads_body(&self, rewritten: bool) -> bool {
        let aws = self.aws.as_ref().map(|aws| &aws.asked.payload);
        let hashed = match aws {
            Some(Payload::Body) => true,
            Some(Payload::Hash(_)) => rewritten,
            Some(Payload::Word(_)) | None => false,
        };
        hashed || !self.macs.is_empty()
    }

    /// Signs a head; `body` is there if it was asked for.
    pub(super) fn sign(
        self,
        head: &mut request::Parts,
        body: Option<&[u8]>,
        substitution: &mut Substitution,
    ) -> Result<(), Problem> {
        for wanted in &self.macs {
            let Processor::Hmac(hmac) = wanted.secret.processor() else {
                continue;
            };
            let digest = hmac.sign(wanted.secret.value().expose(), body.unwrap_or_default());
            // A digest is longer than any value has to be.
            if let Ok(digest) = SecretValue::new(digest) {
                substitution.supply(wanted, digest);
            }
        }
        if !self.macs.is_empty() {
            let put = substitution.headers_again(&mut head.headers);
            put.map_err(Problem::Unfit)?;
        }
        match self.aws {
            Some(aws) if substitution.spend(&aws.wanted) => aws.sign(head, body),
            Some(_) | None => Ok(()),
        }
    }
}

impl Aws {
    fn sign(self, head: &mut request::Parts, body: Option<&[u8]>) -> Result<(), Problem> {
        let payload = match (&self.asked.payload, body) {
            (Payload::Word(word), _) => (*word).to_owned(),
            (Payload::Hash(hash), None) => hash.clone(),
            (Payload::Body, body) => Payload::hash(body.unwrap_or_default()),
            (Payload::Hash(_), Some(body)) => {
                let hash = Payload::hash(body);
                let value = HeaderValue::from_str(&hash);
                let value = value.map_err(|_| unsigned(&self.wanted, SigV4Error::PayloadHash))?;
                head.headers.insert(AWS_PAYLOAD, value);
                hash
            }
        };
        let key = self.wanted.secret.value().expose();
        let value = self.signer.authorization(key, &self.asked, head, &payload);
        let value = value.map_err(|error| unsigned(&self.wanted, error))?;
        head.headers.insert(AUTHORIZATION, value);
        Ok(())
    }
}

fn unsigned(wanted: &Wanted, error: SigV4Error) -> Problem {
    Problem::Signature {
        secret: wanted.secret.name().clone(),
        error,
    }
}
