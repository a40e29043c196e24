//! Messages of secrets' processors and domain types, one into the other.

use std::time::Duration;

use egress::audit::SecretName;
use egress::processors::{
    ClientAuth, Endpoint, Grant, Hmac, HmacAlgorithm, HmacEncoding, Jwt, JwtAlgorithm, JwtSpec,
    OAuth2, OAuth2Spec, Processor, SigV4,
};
use egress::secrets::{Hosts, SecretValue};
use protocol::hostd::v1 as wire;
use wire::hmac_processor::{Algorithm as Hash, Encoding};
use wire::jwt_processor::Algorithm;
use wire::o_auth2_processor::{ClientAuth as Auth, ClientSecret, Grant as Granted};
use wire::secret_processor::Kind;

use super::network::{Opener, unseal, wrong};
use crate::error::{Error, Result, chain};

/// How long a token is good when nobody says.
const LIFETIME: u32 = 3600;

/// A client's processor. `key` opens what is sealed for the secret of this name, and for these hosts.
pub(super) fn read(
    processor: Option<wire::SecretProcessor>,
    name: &SecretName,
    hosts: &Hosts,
    opener: Opener<'_>,
) -> Result<Processor> {
    let Some(processor) = processor else {
        return Ok(Processor::Inject);
    };
    match processor.kind {
        None => Err(wrong(name, "has a processor of no kind".into())),
        Some(Kind::Hmac(hmac)) => Ok(Processor::Hmac(Hmac {
            algorithm: match hmac.algorithm() {
                Hash::Unspecified | Hash::Sha256 => HmacAlgorithm::Sha256,
                Hash::Sha512 => HmacAlgorithm::Sha512,
                Hash::Sha1 => HmacAlgorithm::Sha1,
            },
            encoding: match hmac.encoding() {
                Encoding::Unspecified | Encoding::Hex => HmacEncoding::Hex,
                Encoding::Base64 => HmacEncoding::Base64,
            },
        })),
        Some(Kind::AwsSigv4(aws)) => {
            let signer = SigV4::new(&aws.access_key_id);
            Ok(Processor::SigV4(
                signer.map_err(|error| none(name, &error))?,
            ))
        }
        Some(Kind::Jwt(token)) => Ok(Processor::Jwt(jwt(token, name)?)),
        Some(Kind::Oauth2(spec)) => {
            let spec = oauth2(spec, name, hosts, opener)?;
            let oauth2 = OAuth2::new(spec).map_err(|error| none(name, &error))?;
            Ok(Processor::OAuth2(oauth2))
        }
    }
}

/// Parameters that do not go together.
fn none(name: &SecretName, error: &(dyn std::error::Error + 'static)) -> Error {
    wrong(
        name,
        format!("has a processor that is none: {}", chain(error)),
    )
}

fn jwt(token: wire::JwtProcessor, name: &SecretName) -> Result<Jwt> {
    let algorithm = match token.algorithm() {
        Algorithm::Unspecified => return Err(wrong(name, "has a token without algorithm".into())),
        Algorithm::Hs256 => JwtAlgorithm::Hs256,
        Algorithm::Rs256 => JwtAlgorithm::Rs256,
        Algorithm::Es256 => JwtAlgorithm::Es256,
        Algorithm::Eddsa => JwtAlgorithm::EdDsa,
    };
    let claims = match token.claims_json.as_str() {
        "" => Ok(serde_json::Map::new()),
        text => serde_json::from_str(text),
    };
    let claims = claims.map_err(|_| wrong(name, "has claims that are no JSON object".into()))?;
    let lifetime = match token.lifetime_seconds {
        0 => LIFETIME,
        seconds => seconds,
    };
    let jwt = Jwt::new(JwtSpec {
        algorithm,
        key_id: token.key_id,
        issuer: token.issuer,
        subject: token.subject,
        audience: token.audience,
        scope: token.scope,
        claims,
        lifetime: Duration::from_secs(lifetime.into()),
    });
    jwt.map_err(|error| none(name, &error))
}

fn oauth2(
    spec: wire::OAuth2Processor,
    name: &SecretName,
    hosts: &Hosts,
    opener: Opener<'_>,
) -> Result<OAuth2Spec> {
    let endpoint: Endpoint = spec.token_url.parse().map_err(|error| none(name, &error))?;
    let client_auth = match spec.client_auth() {
        Auth::Unspecified | Auth::Basic => ClientAuth::Basic,
        Auth::Body => ClientAuth::Body,
    };
    let mut sealed_for = None;
    let client_secret = match spec.client_secret {
        None => None,
        Some(ClientSecret::ClientSecretValue(value)) => {
            let value = SecretValue::new(value);
            Some(value.map_err(|error| wrong(name, format!("has a client secret: {error}")))?)
        }
        Some(ClientSecret::ClientSecretSealed(text)) => {
            let hosts: Vec<_> = hosts.texts().collect();
            let unsealed = unseal(&text, name, &hosts, opener)?;
            sealed_for = Some(unsealed.sealed_for);
            Some(unsealed.value)
        }
    };
    let grant = match spec.grant {
        None => return Err(wrong(name, "has no grant to get tokens with".into())),
        Some(Granted::RefreshToken(_)) => Grant::RefreshToken,
        Some(Granted::ClientCredentials(_)) => Grant::ClientCredentials,
        Some(Granted::JwtBearer(token)) => Grant::JwtBearer(jwt(token, name)?),
    };
    let outside = sealed_for.is_some_and(|hosts: Hosts| !hosts.contain(endpoint.target()));
    if outside {
        let problem = "has a client secret that is not sealed for its token endpoint";
        return Err(wrong(name, problem.into()));
    }
    Ok(OAuth2Spec {
        endpoint,
        client_id: spec.client_id,
        client_secret,
        client_auth,
        grant,
        scopes: spec.scopes,
    })
}

/// A processor without what is secret of it.
pub(super) fn shown(processor: &Processor) -> Option<wire::SecretProcessor> {
    let kind = match processor {
        Processor::Inject => return None,
        Processor::Hmac(hmac) => Kind::Hmac(wire::HmacProcessor {
            algorithm: match hmac.algorithm {
                HmacAlgorithm::Sha256 => Hash::Sha256,
                HmacAlgorithm::Sha512 => Hash::Sha512,
                HmacAlgorithm::Sha1 => Hash::Sha1,
            }
            .into(),
            encoding: match hmac.encoding {
                HmacEncoding::Hex => Encoding::Hex,
                HmacEncoding::Base64 => Encoding::Base64,
            }
            .into(),
        }),
        Processor::SigV4(aws) => Kind::AwsSigv4(wire::AwsSigV4Processor {
            access_key_id: aws.access_key_id().to_owned(),
        }),
        Processor::Jwt(jwt) => Kind::Jwt(shown_jwt(jwt.spec())),
        Processor::OAuth2(oauth2) => Kind::Oauth2(shown_oauth2(oauth2.spec())),
    };
    Some(wire::SecretProcessor { kind: Some(kind) })
}

fn shown_jwt(spec: &JwtSpec) -> wire::JwtProcessor {
    let algorithm = match spec.algorithm {
        JwtAlgorithm::Hs256 => Algorithm::Hs256,
        JwtAlgorithm::Rs256 => Algorithm::Rs256,
        JwtAlgorithm::Es256 => Algorithm::Es256,
        JwtAlgorithm::EdDsa => Algorithm::Eddsa,
    };
    wire::JwtProcessor {
        algorithm: algorithm.into(),
        key_id: spec.key_id.clone(),
        issuer: spec.issuer.clone(),
        subject: spec.subject.clone(),
        audience: spec.audience.clone(),
        scope: spec.scope.clone(),
        claims_json: match spec.claims.is_empty() {
            true => String::new(),
            false => serde_json::Value::Object(spec.claims.clone()).to_string(),
        },
        // A day at most.
        lifetime_seconds: u32::try_from(spec.lifetime.as_secs()).unwrap_or(u32::MAX),
    }
}

fn shown_oauth2(spec: &OAuth2Spec) -> wire::OAuth2Processor {
    wire::OAuth2Processor {
        token_url: spec.endpoint.to_string(),
        client_id: spec.client_id.clone(),
        scopes: spec.scopes.clone(),
        client_auth: match spec.client_auth {
            ClientAuth::Basic => Auth::Basic,
            ClientAuth::Body => Auth::Body,
        }
        .into(),
        grant: Some(match &spec.grant {
            Grant::RefreshToken => Granted::RefreshToken(wire::RefreshTokenGrant {}),
            Grant::ClientCredentials => Granted::ClientCredentials(wire::ClientCredentialsGrant {}),
            Grant::JwtBearer(jwt) => Granted::JwtBearer(shown_jwt(jwt.spec())),
        }),
        client_secret: None,
    }
}

#[cfg(test)]
mod tests {
    use egress::secrets::sealed::SealingKey;

    use super::*;
    use crate::tenancy::Caller;

    fn read(kind: Kind) -> Result<Processor> {
        let processor = wire::SecretProcessor { kind: Some(kind) };
        let hosts = Hosts::parse(&["api.example"]).unwrap();
        let key = SealingKey::generate().unwrap();
        let opener = Opener {
            key: &key,
            caller: &Caller::operator(),
        };
        super::read(Some(processor), &"KEY".parse().unwrap(), &hosts, opener)
    }

    fn token() -> wire::JwtProcessor {
        wire::JwtProcessor {
            algorithm: Algorithm::Hs256.into(),
            key_id: "key-1".into(),
            issuer: "robot".into(),
            subject: "someone".into(),
            audience: "https://api.example/".into(),
            scope: "read".into(),
            claims_json: r#"{"tier":3}"#.into(),
            lifetime_seconds: 600,
        }
    }

    fn access() -> wire::OAuth2Processor {
        wire::OAuth2Processor {
            token_url: "https://login.example/token".into(),
            client_id: "client".into(),
            scopes: vec!["read".into()],
            client_auth: Auth::Body.into(),
            grant: Some(Granted::RefreshToken(wire::RefreshTokenGrant {})),
            client_secret: None,
        }
    }

    #[test]
    fn what_is_read_is_shown_but_for_what_is_secret() {
        let hmac = wire::HmacProcessor {
            algorithm: Hash::Sha1.into(),
            encoding: Encoding::Base64.into(),
        };
        let aws = wire::AwsSigV4Processor {
            access_key_id: "AKIDEXAMPLE".into(),
        };
        let mut with_jwt = access();
        with_jwt.grant = Some(Granted::JwtBearer(token()));
        for kind in [
            Kind::Hmac(hmac),
            Kind::AwsSigv4(aws),
            Kind::Jwt(token()),
            Kind::Oauth2(access()),
            Kind::Oauth2(with_jwt),
        ] {
            let shown = shown(&read(kind.clone()).unwrap()).unwrap();
            assert_eq!(shown.kind, Some(kind));
        }
        let mut spec = access();
        spec.client_secret = Some(ClientSecret::ClientSecretValue(b"hunter2-hunter2".to_vec()));
        let read = read(Kind::Oauth2(spec)).unwrap();
        let shown = shown(&read).unwrap();
        assert_eq!(shown.kind, Some(Kind::Oauth2(access())));
        assert!(!format!("{read:?}").contains("hunter2"));
    }

    #[test]
    fn a_clients_secret_may_be_sealed_too() {
        let host = SealingKey::generate().unwrap();
        let opener = Opener {
            key: &host,
            caller: &Caller::operator(),
        };
        let (name, hosts) = (
            "KEY".parse().unwrap(),
            Hosts::parse(&["api.example"]).unwrap(),
        );
        let sealed_for = Hosts::parse(&["api.example", "login.example"]).unwrap();
        let value = SecretValue::new("hunter2-hunter2").unwrap();
        let mut spec = access();
        let text = host
            .public()
            .seal(&name, &sealed_for, None, &value)
            .unwrap()
            .to_string();
        spec.client_secret = Some(ClientSecret::ClientSecretSealed(text));
        let opened = oauth2(spec.clone(), &name, &hosts, opener).unwrap();
        assert_eq!(opened.client_secret.unwrap().expose(), b"hunter2-hunter2");
        let elsewhere = Hosts::parse(&["evil.example"]).unwrap();
        assert!(oauth2(spec.clone(), &name, &elsewhere, opener).is_err());
        assert!(oauth2(spec.clone(), &"OTHER".parse().unwrap(), &hosts, opener).is_err());
        spec.token_url = "https://evil.example/token".into();
        assert!(oauth2(spec, &name, &hosts, opener).is_err());
    }

    #[test]
    fn what_is_wrong_is_told_with_the_secrets_name() {
        let jwt = |change: fn(&mut wire::JwtProcessor)| {
            let mut token = token();
            change(&mut token);
            Kind::Jwt(token)
        };
        let oauth2 = |change: fn(&mut wire::OAuth2Processor)| {
            let mut access = access();
            change(&mut access);
            Kind::Oauth2(access)
        };
        for (kind, problem) in [
            (
                Kind::AwsSigv4(wire::AwsSigV4Processor::default()),
                "access key id",
            ),
            (jwt(|token| token.algorithm = 0), "without algorithm"),
            (
                jwt(|token| token.claims_json = "[]".into()),
                "no JSON object",
            ),
            (jwt(|token| token.lifetime_seconds = 1), "lifetime"),
            (
                oauth2(|spec| spec.token_url = "http://login.example".into()),
                "https",
            ),
            (
                oauth2(|spec| spec.token_url = "https://a..b/".into()),
                "is a name",
            ),
            (oauth2(|spec| spec.grant = None), "no grant"),
            (oauth2(|spec| spec.client_id = String::new()), "client id"),
        ] {
            let text = read(kind).unwrap_err().to_string();
            assert!(text.contains("KEY") && text.contains(problem), "{text}");
        }
    }
}
