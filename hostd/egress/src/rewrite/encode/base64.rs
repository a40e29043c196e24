//! In base64 (RFC 4648), in both alphabets.

use base64::Engine as _;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::Text;

/// The texts that base64 makes of a value with `before` bytes before it (0, 1 or 2): when the value is the
/// end, and when something follows. A character that holds bits of what is before or after is left out.
pub(in crate::rewrite) fn base64(value: &[u8], before: usize) -> [Text; 4] {
    let of = |alphabet: &GeneralPurpose| {
        let padded = super::text(before.min(2) + value.len(), |text| {
            text.extend_from_slice(&[0; 2][..before.min(2)]);
            text.extend_from_slice(value);
        });
        let whole = Zeroizing::new(alphabet.encode(&padded[..]).into_bytes());
        let start = [0, 2, 3].get(before).copied().unwrap_or_default();
        let middle = whole.get(start..padded.len() * 8 / 6).unwrap_or_default();
        let end = whole.get(start..).unwrap_or_default();
        [end, middle].map(|text| Zeroizing::new(text.to_vec()))
    };
    let ([a, b], [c, d]) = (of(&STANDARD_NO_PAD), of(&URL_SAFE_NO_PAD));
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_whatever_is_around_it() {
        let value = b"a secret value?>";
        for before in 0..9 {
            for after in 0..4 {
                let around = [&vec![b'x'; before][..], value, &vec![b'y'; after][..]].concat();
                for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
                    let whole = engine.encode(&around);
                    let forms = base64(value, before % 3);
                    let is_in = |form: &Text| whole.contains(std::str::from_utf8(form).unwrap());
                    assert!(forms.iter().any(is_in), "{before} {after}");
                }
            }
        }
    }
}
