//! [`Capabilities`]: texts that lead to one sandbox each, for whoever knows one.
//!
//! A text has the sandbox's id, some chance, so that a sandbox may have several, and a truncated HMAC-SHA-256 (RFC 2104, section 5)
//! of both with a key that ends with hostd, as its sandboxes do: nothing is kept, and who does not know a text cannot guess it.
//! It is a label of DNS: 43 lower-case letters, digits and hyphens.

use std::fmt;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::id::{SandboxId, encode};

/// Characters of the sandbox's digits, of chance (30 bits), and of the code (80 bits).
const DIGITS: usize = 20;
const CHANCE: usize = 6;
const CODE: usize = 16;

/// Makes them, and knows them again.
pub struct Capabilities {
    key: [u8; 32],
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Capabilities")
    }
}

impl Capabilities {
    /// With a key that nobody has.
    ///
    /// # Errors
    /// The kernel has no randomness.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self { key })
    }

    /// A new one for a sandbox.
    ///
    /// # Errors
    /// The kernel has no randomness.
    pub fn of(&self, id: &SandboxId) -> Result<String, getrandom::Error> {
        let chance = encode(getrandom::u32()?.into(), CHANCE);
        let code = self.code(id.digits(), &chance);
        Ok(format!("{}-{chance}{code}", id.digits()))
    }

    /// Whose it is, if it is one.
    pub fn read(&self, text: &str) -> Option<SandboxId> {
        let (digits, rest) = text.split_at_checked(DIGITS)?;
        let (chance, code) = rest.strip_prefix('-')?.split_at_checked(CHANCE)?;
        let expected = self.code(digits, chance);
        let same: bool = expected.as_bytes().ct_eq(code.as_bytes()).into();
        SandboxId::from_digits(digits).ok().filter(|_| same)
    }

    fn code(&self, digits: &str, chance: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key)
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        for part in [digits, "-", chance] {
            mac.update(part.as_bytes());
        }
        let code = mac.finalize().into_bytes();
        let bits = code.iter().take(size_of::<u128>());
        encode(
            bits.fold(0, |bits, byte| bits << 8 | u128::from(*byte)),
            CODE,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_leads_to_its_sandbox_and_nothing_else_does() {
        let (ours, theirs) = (
            Capabilities::generate().unwrap(),
            Capabilities::generate().unwrap(),
        );
        let (id, other) = (SandboxId::generate(), SandboxId::generate());
        let text = ours.of(&id).unwrap();
        assert_eq!(text.len(), 43);
        assert_eq!(ours.read(&text), Some(id.clone()));
        assert_ne!(ours.of(&id).unwrap(), text);
        assert_eq!(theirs.read(&text), None);
        let forged = text.replace(id.digits(), other.digits());
        let long = format!("{text}0");
        for bad in [
            "",
            "-",
            "ü",
            &forged,
            &long,
            &text[1..],
            &text[..42],
            &text.to_uppercase(),
        ] {
            assert_eq!(ours.read(bad), None, "{bad}");
        }
    }
}
