//! From bytes to a checked manifest and back; drawn in the [parent module](super).

use serde::Deserialize;

use super::{FORMAT_VERSION, Manifest, validate};
use crate::Digest;

/// The longest `manifest.json`, in bytes. Labels and CPU features at their caps need half of it.
pub const MAX_MANIFEST_BYTES: usize = 1 << 20;

const HEAD: &str = r#"{"blake3":""#;
const MIDDLE: &str = r#"","manifest":"#;
const TAIL: &str = "}\n";
const DIGEST_DIGITS: usize = 64;

/// Why a manifest was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Longer than any manifest.
    #[error("a manifest of {found} bytes exceeds {MAX_MANIFEST_BYTES}")]
    TooLong {
        /// Bytes of the file.
        found: u64,
    },
    /// The fixed bytes around digest and content are not there: cut, damaged, or not a manifest.
    #[error("not a manifest, or not all of it")]
    Envelope,
    /// The content is damaged.
    #[error("the manifest does not have the digest it begins with")]
    Digest,
    /// Another version of Thaw wrote it.
    #[error("snapshot format {found}; this Thaw reads format {FORMAT_VERSION}")]
    Version {
        /// The version that the file names.
        found: u32,
    },
    /// Not the fields of this version.
    #[error("the manifest's JSON does not fit")]
    Json(#[source] serde_json::Error),
    /// A value that cannot be.
    #[error("the manifest's {field} {problem}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

/// The one field that every version has.
#[derive(Deserialize)]
struct AnyVersion {
    format_version: u32,
}

impl Manifest {
    /// The bytes of `manifest.json`. Fails for a value that [`Manifest::decode`] would refuse.
    pub fn encode(&self) -> Result<Vec<u8>, ManifestError> {
        validate::check(self)?;
        let content = serde_json::to_string_pretty(self).map_err(ManifestError::Json)?;
        let digest = Digest::of(content.as_bytes());
        let file = format!("{HEAD}{digest}{MIDDLE}{content}{TAIL}").into_bytes();
        check_len(&file)?;
        Ok(file)
    }

    /// Checks and reads the bytes of `manifest.json`.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        check_len(bytes)?;
        let (digest, content) = open(bytes).ok_or(ManifestError::Envelope)?;
        if Digest::of(content).to_string().as_bytes() != digest {
            return Err(ManifestError::Digest);
        }
        let AnyVersion {
            format_version: found,
        } = serde_json::from_slice(content).map_err(ManifestError::Json)?;
        if found != FORMAT_VERSION {
            return Err(ManifestError::Version { found });
        }
        let manifest = serde_json::from_slice(content).map_err(ManifestError::Json)?;
        validate::check(&manifest)?;
        Ok(manifest)
    }
}

fn check_len(bytes: &[u8]) -> Result<(), ManifestError> {
    if bytes.len() > MAX_MANIFEST_BYTES {
        return Err(ManifestError::TooLong {
            found: bytes.len() as u64,
        });
    }
    Ok(())
}

/// The digest's digits and the content that they are of.
fn open(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_prefix(HEAD.as_bytes())?;
    let (digest, rest) = rest.split_at_checked(DIGEST_DIGITS)?;
    let content = rest
        .strip_prefix(MIDDLE.as_bytes())?
        .strip_suffix(TAIL.as_bytes())?;
    Some((digest, content))
}
