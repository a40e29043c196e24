//! [`Substitution`]: placeholders of one request become values.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, request};
use thiserror::Error;
use zeroize::Zeroizing;

use super::encode::{self, Text};
use super::patterns::Patterns;
use super::placeholders::Placeholders;
use super::stream::Replacing;
use super::transform::Transform;
use super::uses::Uses;
use crate::secrets::{Bindings, Secret, SecretValue};

/// The secrets that one request may have, and which of them it had.
pub(crate) struct Substitution {
    secrets: Vec<Known>,
    placeholders: Placeholders,
    uses: Arc<Uses>,
    /// Basic credentials as they were sent, and as the guest wrote them.
    sent: Vec<(Text, Vec<u8>)>,
}

/// A secret of the sandbox.
#[derive(Clone)]
struct Known {
    secret: Arc<Secret>,
    /// Whether this request may have it.
    may: bool,
    /// What is made of its value for this request, as soon as it is.
    made: Option<SecretValue>,
}

/// A secret that a request waits for: something has to be made of it first.
pub(crate) struct Wanted {
    index: usize,
    /// The secret.
    pub(crate) secret: Arc<Secret>,
}

/// A request that would be none with the values in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Unfit {
    /// Longer than any client may send.
    #[error("its URL would be too long")]
    Url,
    /// A surface that was widened after the value was checked.
    #[error("a header cannot hold the value")]
    Header,
}

impl Substitution {
    /// For a request with this head; `bound` tells which secrets are for its host.
    pub(crate) fn new(
        bindings: &Bindings,
        head: &request::Parts,
        bound: impl Fn(&Secret) -> bool,
    ) -> Self {
        let covers = |secret: &Secret| {
            bound(secret) && secret.surface().covers(&head.method, head.uri.path())
        };
        let known = bindings.secrets().iter().map(|secret| Known {
            secret: secret.clone(),
            may: covers(secret),
            made: None,
        });
        let secrets: Vec<_> = known.collect();
        Self {
            uses: Arc::new(uses(&secrets)),
            secrets,
            placeholders: bindings.placeholders().clone(),
            sent: Vec::new(),
        }
    }

    /// Those that a head asks for and of which something has to be made first.
    ///
    /// # Errors
    /// [`Unfit`]: as for [`Substitution::head`].
    pub(crate) fn wanted(&self, head: &request::Parts) -> Result<Vec<Wanted>, Unfit> {
        let waits = |known: &Known| known.may && known.secret.processor().is_on_demand();
        if !self.secrets.iter().any(waits) {
            return Ok(Vec::new());
        }
        // A trial: nothing of it goes out, and nothing is counted.
        let mut trial = Self {
            secrets: self.secrets.clone(),
            placeholders: self.placeholders.clone(),
            uses: Arc::new(uses(&self.secrets)),
            sent: Vec::new(),
        };
        trial.head(&mut head.clone())?;
        let wanted = trial.uses.wanted().into_iter().filter_map(|index| {
            let secret = self.secrets.get(index)?.secret.clone();
            Some(Wanted { index, secret })
        });
        Ok(wanted.collect())
    }

    /// Takes what was made of one for this request.
    pub(crate) fn supply(&mut self, wanted: &Wanted, made: SecretValue) {
        if let Some(known) = self.secrets.get_mut(wanted.index) {
            known.made = Some(made);
        }
    }

    /// Takes note that nothing could be made of one.
    pub(crate) fn withhold(&self, wanted: &Wanted) {
        self.uses.withhold(wanted.secret.name());
    }

    /// Counts that one was used in another way than by being put in. Tells whether it may be.
    pub(crate) fn spend(&self, wanted: &Wanted) -> bool {
        let may = self
            .uses
            .take(wanted.index, wanted.secret.surface().most_uses());
        if !may {
            self.uses.withhold(wanted.secret.name());
        }
        may
    }

    /// What was used so far, now and later.
    pub(crate) fn uses(&self) -> &Arc<Uses> {
        &self.uses
    }

    /// Basic credentials that were sent, each with what the guest had written.
    pub(crate) fn take_sent(&mut self) -> Vec<(Text, Vec<u8>)> {
        std::mem::take(&mut self.sent)
    }

    /// Puts them into a head.
    ///
    /// # Errors
    /// [`Unfit`]: the request must not go out, half done as it is.
    pub(crate) fn head(&mut self, head: &mut request::Parts) -> Result<(), Unfit> {
        if let Some(whole) = head.uri.path_and_query()
            && let Some(text) = self.path_and_query(whole.as_str())
        {
            let mut parts = head.uri.clone().into_parts();
            let whole = PathAndQuery::try_from(&text[..]).map_err(|_| Unfit::Url)?;
            parts.path_and_query = Some(whole);
            head.uri = Uri::from_parts(parts).map_err(|_| Unfit::Url)?;
        }
        self.headers(&mut head.headers)
    }

    /// Another path and query, if there is something to put in.
    fn path_and_query(&self, whole: &str) -> Option<Text> {
        let (path, query) = whole
            .split_once('?')
            .map_or((whole, None), |(path, query)| (path, Some(query)));
        let in_path = |secret: &Secret| secret.surface().path;
        let in_query = |secret: &Secret| secret.surface().query;
        let part = |text: &str, here: &dyn Fn(&Secret) -> bool| {
            self.whole(
                &self.placeholders.encoded,
                text.as_bytes(),
                here,
                encode::percent,
            )
        };
        let other_path = part(path, &in_path);
        let other_query = query.and_then(|query| part(query, &in_query));
        if other_path.is_none() && other_query.is_none() {
            return None;
        }
        let mut text = other_path.unwrap_or_else(|| raw(path.as_bytes()));
        if let Some(query) = query {
            text.push(b'?');
            text.extend_from_slice(other_query.as_deref().map_or(query.as_bytes(), |o| o));
        }
        Some(text)
    }

    fn headers(&mut self, headers: &mut HeaderMap) -> Result<(), Unfit> {
        let mut changed = Vec::new();
        for (name, value) in headers.iter_mut() {
            let basic = if *name == AUTHORIZATION {
                self.basic(value)
            } else {
                None
            };
            if let Some((substituted, sent)) = basic {
                changed.push(sent);
                *value = substituted;
                continue;
            }
            self.header(name, value)?;
        }
        self.sent.append(&mut changed);
        Ok(())
    }

    /// Puts what was made at last into headers whose other secrets are there already. Not into Basic credentials: these
    /// are told by what the guest wrote, which is no longer known.
    ///
    /// # Errors
    /// [`Unfit`]: the request must not go out, half done as it is.
    pub(crate) fn headers_again(&self, headers: &mut HeaderMap) -> Result<(), Unfit> {
        for (name, value) in headers.iter_mut() {
            self.header(name, value)?;
        }
        Ok(())
    }

    fn header(&self, name: &HeaderName, value: &mut HeaderValue) -> Result<(), Unfit> {
        let covers = |secret: &Secret| secret.surface().covers_header(name);
        let text = self.whole(&self.placeholders.plain, value.as_bytes(), &covers, raw);
        if let Some(text) = text {
            let mut substituted = HeaderValue::from_bytes(&text).map_err(|_| Unfit::Header)?;
            // Neither printed nor put into a compressor's table.
            substituted.set_sensitive(true);
            *value = substituted;
        }
        Ok(())
    }

    /// Basic credentials (RFC 7617) with a placeholder inside.
    fn basic(&self, value: &HeaderValue) -> Option<(HeaderValue, (Text, Vec<u8>))> {
        let (scheme, written) = value.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let written = written.trim();
        let decoded = Zeroizing::new(STANDARD.decode(written).ok()?);
        let covers = |secret: &Secret| secret.surface().covers_header(&AUTHORIZATION);
        let text = self.whole(&self.placeholders.plain, &decoded, &covers, raw)?;
        let encoded = Zeroizing::new(STANDARD.encode(&text[..]));
        let line = Zeroizing::new(format!("{scheme} {}", *encoded));
        let mut substituted = HeaderValue::from_str(&line).ok()?;
        substituted.set_sensitive(true);
        let sent = Zeroizing::new(encoded.as_bytes().to_vec());
        Some((substituted, (sent, written.as_bytes().to_vec())))
    }

    /// Puts them into a body, if one of them may be there. What it is is told by its type.
    pub(crate) fn body(&self, headers: &HeaderMap) -> Option<Box<dyn Transform>> {
        let in_body = |secret: &Secret| secret.surface().body;
        if !self
            .secrets
            .iter()
            .any(|known| known.may && in_body(&known.secret))
        {
            return None;
        }
        let kind = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let kind = kind
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        Some(if kind == "application/x-www-form-urlencoded" {
            Box::new(self.replacing(&self.placeholders.encoded, &in_body, encode::form))
        } else if kind == "application/json" || kind.ends_with("+json") {
            Box::new(self.replacing(&self.placeholders.plain, &in_body, encode::json))
        } else {
            Box::new(self.replacing(&self.placeholders.plain, &in_body, raw))
        })
    }

    /// Puts them into one WebSocket message.
    pub(crate) fn message(&self) -> Box<dyn Transform> {
        Box::new(self.replacing(
            &self.placeholders.plain,
            &|secret| secret.surface().websocket,
            raw,
        ))
    }

    /// All of a text at once; nothing, if it stays what it is, as nearly all do.
    fn whole(
        &self,
        patterns: &Arc<Patterns>,
        text: &[u8],
        here: &dyn Fn(&Secret) -> bool,
        write: fn(&[u8]) -> Text,
    ) -> Option<Text> {
        patterns.find(text, true)?;
        self.replacing(patterns, here, write).whole(text)
    }

    fn replacing(
        &self,
        patterns: &Arc<Patterns>,
        here: &dyn Fn(&Secret) -> bool,
        write: fn(&[u8]) -> Text,
    ) -> Replacing<impl FnMut(usize) -> Option<Text> + Send + use<>> {
        let here = self.secrets.iter().map(|known| Known {
            may: known.may && here(&known.secret),
            ..known.clone()
        });
        let (secrets, uses) = (here.collect::<Vec<_>>(), self.uses.clone());
        Replacing::new(patterns.clone(), move |pattern| {
            let index = pattern.checked_rem(secrets.len())?;
            let Known { secret, may, made } = secrets.get(index)?;
            let value = match secret.processor().is_on_demand() {
                true => made.as_ref(),
                false => Some(secret.value()),
            };
            if *may && value.is_none() {
                uses.want(index);
                return None;
            }
            let used = *may && uses.take(index, secret.surface().most_uses());
            if !used {
                uses.withhold(secret.name());
            }
            value.filter(|_| used).map(|value| write(value.expose()))
        })
    }
}

fn uses(secrets: &[Known]) -> Uses {
    let names = secrets.iter().map(|known| known.secret.name().clone());
    Uses::of(names.collect())
}

fn raw(value: &[u8]) -> Text {
    Zeroizing::new(value.to_vec())
}

#[cfg(test)]
mod tests;
