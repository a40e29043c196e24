//! [`Placeholders`]: where a sandbox's placeholders are in a request.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::patterns::Patterns;
use crate::secrets::Secret;

/// The placeholders of a sandbox, to be found in requests: as they are, and in URLs, where their underscores may be
/// percent-encoded. A pattern's index, modulo the number of secrets, is its secret's. A clone is another handle of the same.
#[derive(Clone)]
pub(crate) struct Placeholders {
    pub(super) plain: Arc<Patterns>,
    pub(super) encoded: Arc<Patterns>,
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

impl fmt::Debug for Placeholders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Placeholders").finish_non_exhaustive()
    }
}
