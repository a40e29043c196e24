//! [`HostName`]: a name that has one spelling.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use idna::AsciiDenyList;
use thiserror::Error;

/// RFC 1035's 255 octets on the wire are 253 characters without the trailing dot.
pub const MAX_NAME: usize = 253;
/// RFC 1035: a label's length has six bits.
pub const MAX_LABEL: usize = 63;
/// What is read before IDNA has shortened it: no character needs more than four bytes, and the
/// cost of IDNA's normalisation must be bounded, too.
const MAX_INPUT: usize = 4 * MAX_NAME;

/// A host's name: ASCII after IDNA (UTS 46, non-transitional), lower case, without trailing dot,
/// at most [`MAX_NAME`] bytes. Two spellings of a host are equal here; what is no name of a host
/// cannot be one of these. A clone is cheap.
///
/// | in a name | is |
/// |---|---|
/// | letters, digits, `-` | taken, wherever in the label they are: `r3---sn-x.example` is real |
/// | `_` | taken: no host's name by RFC 952, but in use (`_dmarc`, buckets), and it has no other meaning anywhere |
/// | upper case, IDN, full-width dots and digits | mapped by UTS 46 |
/// | one dot at the end | taken off |
/// | NUL, space, control characters, `%`, `@`, `:`, `/`, `\`, `*`, brackets | refused: some parser gives each of them a meaning |
/// | a last label that is a number (`127.1`, `0x7f.1`, `2130706433`) | refused: libc takes it for an address |
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(Arc<str>);

/// Why something is no [`HostName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HostNameError {
    /// Nothing, or only a dot.
    #[error("the name is empty")]
    Empty,
    /// More than [`MAX_NAME`] bytes.
    #[error("the name is longer than {MAX_NAME} bytes")]
    TooLong,
    /// A label of nothing: two dots in a row, or one at the beginning.
    #[error("the name has an empty label")]
    EmptyLabel,
    /// A label of more than [`MAX_LABEL`] bytes.
    #[error("the name has a label of more than {MAX_LABEL} bytes")]
    LabelTooLong,
    /// A character that no name has.
    #[error("the name has a character that no host's name has")]
    Character,
    /// The name would be read as an IPv4 address by some program.
    #[error("the name ends in a number, so it is an address for some programs")]
    Numeric,
    /// UTS 46 refuses it.
    #[error("the name is no valid internationalised name")]
    Idna,
}

impl HostName {
    /// Reads a name that a person wrote.
    ///
    /// # Errors
    /// [`HostNameError`]: it is no host's name.
    pub fn parse(text: &str) -> Result<Self, HostNameError> {
        if text.len() > MAX_INPUT {
            return Err(HostNameError::TooLong);
        }
        let ascii = idna::domain_to_ascii_cow(text.as_bytes(), AsciiDenyList::URL)
            .map_err(|_| reason_of(text))?;
        Self::from_ascii(&ascii)
    }

    /// Reads a name as it comes in a protocol: SNI, Host and DNS carry ASCII only, so anything
    /// else is an attempt, or a mistake, and is not mapped.
    ///
    /// # Errors
    /// [`HostNameError`]: it is no host's name.
    pub fn from_wire(bytes: &[u8]) -> Result<Self, HostNameError> {
        match std::str::from_utf8(bytes) {
            Ok(text) if text.is_ascii() => Self::parse(text),
            _ => Err(HostNameError::Character),
        }
    }

    fn from_ascii(text: &str) -> Result<Self, HostNameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(HostNameError::Empty);
        }
        if text.len() > MAX_NAME {
            return Err(HostNameError::TooLong);
        }
        text.split('.').try_for_each(check_label)?;
        if text.rsplit('.').next().is_some_and(is_number) {
            return Err(HostNameError::Numeric);
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }

    /// The name: ASCII, lower case, no dot at the end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names above this one, the nearest first: `b.example`, `example` for `a.b.example`.
    pub fn parents(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(above(&self.0), |name| above(name))
    }
}

fn above(name: &str) -> Option<&str> {
    name.split_once('.').map(|(_, parent)| parent)
}

fn check_label(label: &str) -> Result<(), HostNameError> {
    if label.is_empty() {
        return Err(HostNameError::EmptyLabel);
    }
    if label.len() > MAX_LABEL {
        return Err(HostNameError::LabelTooLong);
    }
    let known = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !label.bytes().all(known) {
        return Err(HostNameError::Character);
    }
    Ok(())
}

/// Whether `inet_aton` and the URL standard would take a name with this last label for an address.
fn is_number(label: &str) -> bool {
    let hex = label
        .strip_prefix("0x")
        .or_else(|| label.strip_prefix("0X"));
    match hex {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_hexdigit()),
        None => label.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// IDNA says no without a word; the commonest cause has a better one.
fn reason_of(text: &str) -> HostNameError {
    if text.is_ascii() && !text.to_ascii_lowercase().contains("xn--") {
        return HostNameError::Character;
    }
    HostNameError::Idna
}

impl FromStr for HostName {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for HostName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for HostName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_host_are_one_name() {
        for (text, name) in [
            ("example.com", "example.com"),
            ("EXAMPLE.com.", "example.com"),
            ("Bücher.example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("ｅｘａｍｐｌｅ。com", "example.com"),
            ("example.com\u{3002}", "example.com"),
            ("localhost", "localhost"),
            ("my_bucket.s3.example", "my_bucket.s3.example"),
            ("_dmarc.example", "_dmarc.example"),
            ("r3---sn-4g5e.example", "r3---sn-4g5e.example"),
            ("-odd-.example", "-odd-.example"),
            ("1.2.3.com", "1.2.3.com"),
            ("0x.example", "0x.example"),
            ("faß.example", "xn--fa-hia.example"),
        ] {
            assert_eq!(HostName::parse(text).unwrap().as_str(), name, "{text}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        use HostNameError::*;
        let long_label = format!("{}.example", "a".repeat(64));
        let long_name = format!("{}example", "a.".repeat(130));
        let huge = "a".repeat(5000);
        for (text, error) in [
            ("", Empty),
            (".", Empty),
            ("a..b", EmptyLabel),
            (".a", EmptyLabel),
            ("a.b..", EmptyLabel),
            (long_label.as_str(), LabelTooLong),
            (long_name.as_str(), TooLong),
            (huge.as_str(), TooLong),
            ("a b.example", Character),
            ("a\0.example", Character),
            ("good.example\0.evil.example", Character),
            ("a%2eb.example", Character),
            ("user@example.com", Character),
            ("example.com:443", Character),
            ("example.com/x", Character),
            ("example.com\\x", Character),
            ("*.example.com", Character),
            ("[::1]", Character),
            ("::1", Character),
            ("a\r\nb.example", Character),
            ("a\u{7f}.example", Character),
            ("127.0.0.1", Numeric),
            ("127.1", Numeric),
            ("0x7f.1", Numeric),
            ("0x7f.0x1", Numeric),
            ("0X7F.0X1", Numeric),
            ("2130706433", Numeric),
            ("017700000001", Numeric),
            ("0x", Numeric),
            ("0x7f000001", Numeric),
            ("example.123", Numeric),
            ("１２７.0.0.1", Numeric),
            ("①②⑦.1", Numeric),
            ("127.0.0.1.", Numeric),
            ("xn--\u{80}.example", Idna),
            ("xn--a.example", Idna),
            ("\u{202e}moc.example", Idna),
        ] {
            assert_eq!(HostName::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn the_wire_carries_ascii_only() {
        assert_eq!(
            HostName::from_wire(b"Example.COM").unwrap().as_str(),
            "example.com"
        );
        for bytes in [
            &b"\xff.example"[..],
            "bücher.example".as_bytes(),
            b"a\0b",
            b"",
        ] {
            assert!(HostName::from_wire(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_name_read_again_is_the_same() {
        bolero::check!()
            .with_test_time(std::time::Duration::from_secs(1))
            .for_each(|bytes| {
                let text = String::from_utf8_lossy(bytes);
                if let Ok(name) = HostName::parse(&text) {
                    assert!(name.as_str().len() <= MAX_NAME && name.as_str().is_ascii());
                    assert_eq!(HostName::parse(name.as_str()).as_ref(), Ok(&name));
                    assert_eq!(HostName::from_wire(name.as_str().as_bytes()), Ok(name));
                }
            });
    }

    #[test]
    fn parents_are_the_names_above() {
        let name = HostName::parse("a.b.example").unwrap();
        assert_eq!(name.parents().collect::<Vec<_>>(), ["b.example", "example"]);
    }
}
