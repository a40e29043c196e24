//! [`Substitution`]: placeholders of one request become values.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Uri, request};
use thiserror::Error;
use zeroize::Zeroizing;

use super::encode::{self, Text};
use super::patterns::Patterns;
use super::stream::Replacing;
use super::transform::Transform;
use crate::audit::SecretName;
use crate::secrets::{Bindings, Secret};

/// The secrets that one request may have, and which of them it had.
pub(crate) struct Substitution {
    /// All that the sandbox has, and whether this request may have it.
    secrets: Vec<(Arc<Secret>, bool)>,
    placeholders: Placeholders,
    uses: Arc<Uses>,
    /// Basic credentials as they were sent, and as the guest wrote them.
    sent: Vec<(Text, Vec<u8>)>,
}

/// How often each secret was put into one request, and which were asked for in vain.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    counts: Vec<AtomicU32>,
    withheld: Mutex<Vec<SecretName>>,
    names: Vec<SecretName>,
}

/// The placeholders of a sandbox, to be found in requests: as they are, and in URLs, where their underscores may be
/// percent-encoded. A pattern's index, modulo the number of secrets, is its secret's. A clone is another handle of the same.
#[derive(Clone)]
pub(crate) struct Placeholders {
    plain: Arc<Patterns>,
    encoded: Arc<Patterns>,
}

impl Placeholders {
    pub(crate) fn new(secrets: &[Arc<Secret>]) -> Self {
        let written = |writings: &[&str]| {
            let texts = writings.iter().flat_map(|underscore| {
                secrets.iter().map(|secret| {
                    let text = secret.placeholder().as_str().replace('_', underscore);
                    Zeroizing::new(text.into_bytes())
                })
            });
            Arc::new(Patterns::new(texts.collect()))
        };
        Self {
            plain: written(&["_"]),
            encoded: written(&["_", "%5F", "%5f"]),
        }
    }
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

impl fmt::Debug for Placeholders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Placeholders").finish_non_exhaustive()
    }
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
        let secrets: Vec<_> = bindings
            .secrets()
            .iter()
            .map(|secret| (secret.clone(), covers(secret)))
            .collect();
        let names: Vec<_> = secrets
            .iter()
            .map(|(secret, _)| secret.name().clone())
            .collect();
        let counts = names.iter().map(|_| AtomicU32::new(0)).collect();
        let uses = Uses {
            counts,
            withheld: Mutex::default(),
            names,
        };
        Self {
            secrets,
            placeholders: bindings.placeholders().clone(),
            uses: Arc::new(uses),
            sent: Vec::new(),
        }
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
            let covers = |secret: &Secret| secret.surface().covers_header(name);
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
            let text = self.whole(&self.placeholders.plain, value.as_bytes(), &covers, raw);
            if let Some(text) = text {
                let mut substituted = HeaderValue::from_bytes(&text).map_err(|_| Unfit::Header)?;
                // Neither printed nor put into a compressor's table.
                substituted.set_sensitive(true);
                *value = substituted;
            }
        }
        self.sent.append(&mut changed);
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
            .any(|(secret, may)| *may && in_body(secret))
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
        let secrets: Vec<_> = self
            .secrets
            .iter()
            .map(|(secret, may)| (secret.clone(), *may && here(secret)))
            .collect();
        let uses = self.uses.clone();
        Replacing::new(patterns.clone(), move |pattern| {
            let index = pattern.checked_rem(secrets.len())?;
            let (secret, may) = secrets.get(index)?;
            let used = *may && uses.take(index, secret.surface().most_uses());
            if !used {
                uses.withhold(secret.name());
            }
            used.then(|| write(secret.value().expose()))
        })
    }
}

fn raw(value: &[u8]) -> Text {
    Zeroizing::new(value.to_vec())
}

impl Uses {
    fn take(&self, index: usize, most: u32) -> bool {
        let count = self.counts.get(index);
        count.is_some_and(|count| count.fetch_add(1, Ordering::Relaxed) < most)
    }

    fn withhold(&self, name: &SecretName) {
        let mut withheld = self.withheld.lock().unwrap_or_else(PoisonError::into_inner);
        if !withheld.contains(name) {
            withheld.push(name.clone());
        }
    }

    /// The secrets that were put in.
    pub(crate) fn used(&self) -> Vec<SecretName> {
        let counted = self.names.iter().zip(&self.counts);
        let used = counted.filter(|(_, count)| count.load(Ordering::Relaxed) > 0);
        used.map(|(name, _)| name.clone()).collect()
    }

    /// The secrets that were asked for in vain: for another host, or in another place.
    pub(crate) fn withheld(&self) -> Vec<SecretName> {
        self.withheld
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests;
