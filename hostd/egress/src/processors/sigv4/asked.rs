//! What a program's own signature says: [`Asked`].

use std::fmt;

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{ALGORITHM, AWS_PAYLOAD, SigV4Error, TERMINATOR, mac};
use crate::secrets::Placeholder;

/// Signed headers that are looked at: as many as a request may have.
const MAX_SIGNED: usize = 100;
/// Characters of a region or a service; the longest known have some 30.
const MAX_LABEL: usize = 64;
/// Characters of a SHA-256 digest.
const DIGEST: usize = 64;

/// What is to be signed, and for what.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// For which day, region and service.
    pub(super) scope: Scope,
    /// When: `YYYYMMDD'T'HHMMSS'Z'`.
    pub(super) time: String,
    /// Which headers.
    pub(super) headers: Vec<HeaderName>,
    /// What of the body.
    pub(crate) payload: Payload,
}

/// What is signed of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Payload {
    /// A hash that the program made.
    Hash(String),
    /// A word that stands for no hash.
    Word(&'static str),
    /// Nothing is said: the body's hash has to be made.
    Body,
}

/// What a signing key is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scope {
    date: String,
    region: String,
    pub(super) service: String,
}

impl Asked {
    /// Reads it from a request's headers.
    ///
    /// # Errors
    /// [`SigV4Error`] says what is not as AWS's SDKs write it.
    pub(crate) fn read(headers: &HeaderMap, placeholder: &Placeholder) -> Result<Self, SigV4Error> {
        let [credential, signed, signature] = parameters(headers)?;
        let scope = credential
            .strip_prefix(placeholder.as_str())
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or(SigV4Error::Authorization)?;
        if !is_digest(signature) {
            return Err(SigV4Error::Authorization);
        }
        let scope = Scope::parse(scope)?;
        Ok(Self {
            time: time(headers, &scope)?,
            headers: names(signed)?,
            payload: Payload::read(headers)?,
            scope,
        })
    }
}

impl Payload {
    /// SHA-256 in hexadecimal digits.
    pub(crate) fn hash(body: &[u8]) -> String {
        hex::encode(Sha256::digest(body))
    }

    fn read(headers: &HeaderMap) -> Result<Self, SigV4Error> {
        let Some(value) = headers.get(AWS_PAYLOAD) else {
            return Ok(Self::Body);
        };
        let text = value.to_str().map_err(|_| SigV4Error::PayloadHash)?;
        let words = ["UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"];
        if let Some(word) = words.into_iter().find(|word| *word == text) {
            return Ok(Self::Word(word));
        }
        if text.starts_with("STREAMING-") {
            return Err(SigV4Error::Streaming);
        }
        let hash = is_digest(text).then(|| Self::Hash(text.to_owned()));
        hash.ok_or(SigV4Error::PayloadHash)
    }
}

impl Scope {
    fn parse(text: &str) -> Result<Self, SigV4Error> {
        let parts: Vec<_> = text.split('/').collect();
        let [date, region, service, TERMINATOR] = parts[..] else {
            return Err(SigV4Error::Scope);
        };
        let is_date = date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit());
        if !is_date || !is_label(region) || !is_label(service) {
            return Err(SigV4Error::Scope);
        }
        Ok(Self {
            date: date.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
        })
    }

    /// The key that signs in this scope, of a secret access key.
    pub(super) fn key(&self, secret: &[u8]) -> Zeroizing<Vec<u8>> {
        let first = Zeroizing::new([b"AWS4", secret].concat());
        let parts = [&self.date, &self.region, &self.service];
        let steps = parts.into_iter().map(String::as_str).chain([TERMINATOR]);
        steps.fold(first, |key, step| {
            Zeroizing::new(mac::sha256(&key, &[step.as_bytes()]))
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            date,
            region,
            service,
        } = self;
        write!(f, "{date}/{region}/{service}/{TERMINATOR}")
    }
}

/// The three parameters of the one `Authorization` header.
fn parameters(headers: &HeaderMap) -> Result<[&str; 3], SigV4Error> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(SigV4Error::Authorization);
    };
    let text = value.to_str().ok();
    let parameters = text.and_then(|text| text.strip_prefix(ALGORITHM)?.strip_prefix(' '));
    let mut found = [None; 3];
    for parameter in parameters.ok_or(SigV4Error::Authorization)?.split(',') {
        let (name, value) = parameter
            .trim()
            .split_once('=')
            .ok_or(SigV4Error::Authorization)?;
        let names = ["Credential", "SignedHeaders", "Signature"];
        let known = names
            .iter()
            .zip(&mut found)
            .find(|(known, _)| **known == name);
        match known {
            Some((_, place @ None)) => *place = Some(value),
            // Twice, or one that nobody knows.
            _ => return Err(SigV4Error::Authorization),
        }
    }
    match found {
        [Some(credential), Some(signed), Some(signature)] => Ok([credential, signed, signature]),
        _ => Err(SigV4Error::Authorization),
    }
}

fn time(headers: &HeaderMap, scope: &Scope) -> Result<String, SigV4Error> {
    let text = headers.get("x-amz-date").map(HeaderValue::to_str);
    let Some(Ok(text)) = text else {
        return Err(SigV4Error::Date);
    };
    let clock = text
        .strip_prefix(&scope.date)
        .and_then(|rest| rest.strip_prefix('T')?.strip_suffix('Z'));
    let is_clock = |clock: &str| clock.len() == 6 && clock.bytes().all(|b| b.is_ascii_digit());
    let fits = clock.is_some_and(is_clock);
    fits.then(|| text.to_owned()).ok_or(SigV4Error::Date)
}

fn names(text: &str) -> Result<Vec<HeaderName>, SigV4Error> {
    let names = text
        .split(';')
        .map(|name| HeaderName::from_lowercase(name.as_bytes()));
    let names: Result<Vec<_>, _> = names.take(MAX_SIGNED + 1).collect();
    let mut names = names.map_err(|_| SigV4Error::SignedHeaders)?;
    if names.len() > MAX_SIGNED || !names.contains(&HOST) {
        return Err(SigV4Error::SignedHeaders);
    }
    names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    names.dedup();
    Ok(names)
}

fn is_label(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=MAX_LABEL).contains(&text.len()) && text.bytes().all(known)
}

fn is_digest(text: &str) -> bool {
    text.len() == DIGEST && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
