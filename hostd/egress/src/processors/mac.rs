//! [`Hmac`]: a request's body under a key that the guest does not have.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::Mac;
use hmac::digest::KeyInit;
use sha1::Sha1;
use sha2::{Sha256, Sha512};

/// HMAC (RFC 2104) of a request's body, as webhooks are signed. The guest writes the header with all that is before the
/// digest, such as `x-hub-signature-256: sha256=PLACEHOLDER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hmac {
    /// Which hash.
    pub algorithm: HmacAlgorithm,
    /// How the digest is written.
    pub encoding: HmacEncoding,
}

/// A hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HmacAlgorithm {
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-512.
    Sha512,
    /// SHA-1, which older webhooks want; HMAC is not what is broken of it.
    Sha1,
}

/// How a digest is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HmacEncoding {
    /// Hexadecimal digits in lower case.
    #[default]
    Hex,
    /// Base64 with padding (RFC 4648, section 4).
    Base64,
}

impl Hmac {
    /// The body's MAC under `key`, written.
    pub(crate) fn sign(self, key: &[u8], body: &[u8]) -> String {
        let digest = match self.algorithm {
            HmacAlgorithm::Sha256 => mac::<hmac::Hmac<Sha256>>(key, &[body]),
            HmacAlgorithm::Sha512 => mac::<hmac::Hmac<Sha512>>(key, &[body]),
            HmacAlgorithm::Sha1 => mac::<hmac::Hmac<Sha1>>(key, &[body]),
        };
        match self.encoding {
            HmacEncoding::Hex => hex::encode(digest),
            HmacEncoding::Base64 => STANDARD.encode(digest),
        }
    }
}

/// HMAC-SHA-256 of these parts, one after the other.
pub(super) fn sha256(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    mac::<hmac::Hmac<Sha256>>(key, parts)
}

fn mac<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    // HMAC's keys may have any length.
    let Ok(mut mac) = <M as Mac>::new_from_slice(key) else {
        return Vec::new();
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, sections 4.2, 4.3, 4.4, 4.7 and 4.8: key, data, HMAC-SHA-256.
    #[test]
    fn the_vectors_of_rfc_4231() {
        let long = [0xaa; 131];
        let cases: [(&[u8], &[u8], &str); 5] = [
            (
                &[0x0b; 20],
                b"Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 20],
                &[0xdd; 50],
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            ),
            (
                &long,
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (
                &long,
                b"This is a test using a larger than block-size key and a larger than block-size data. \
                  The key needs to be hashed before being used by the HMAC algorithm.",
                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            ),
        ];
        for (key, data, digest) in cases {
            assert_eq!(Hmac::default().sign(key, data), digest);
        }
    }

    #[test]
    fn the_other_hashes_and_encodings() {
        // RFC 4231, section 4.3, and RFC 2202, section 3, test case 2.
        let (key, data) = (b"Jefe", b"what do ya want for nothing?");
        let sha512 = Hmac {
            algorithm: HmacAlgorithm::Sha512,
            ..Hmac::default()
        };
        assert_eq!(
            sha512.sign(key, data),
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
             9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
        );
        let sha1 = Hmac {
            algorithm: HmacAlgorithm::Sha1,
            ..Hmac::default()
        };
        assert_eq!(
            sha1.sign(key, data),
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
        );
        let base64 = Hmac {
            encoding: HmacEncoding::Base64,
            ..sha1
        };
        assert_eq!(base64.sign(key, data), "7/zfauXrL6LSdBbV8YTfnCWafHk=");
    }
}
