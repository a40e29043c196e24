use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::rewrite::{Lengths, Redactor, Same};
use crate::testing::secret;

const TIME: Duration = Duration::from_secs(1);

fn all(transform: &mut dyn Transform, bytes: &[u8], step: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in bytes.chunks(step.max(1)) {
        out.extend_from_slice(&transform.feed(Bytes::copy_from_slice(chunk)));
        while let Some(more) = transform.more() {
            out.extend_from_slice(&more);
        }
    }
    out.extend_from_slice(&transform.finish());
    out
}

fn encoded(bytes: &[u8]) -> impl Iterator<Item = (Coding, Vec<u8>)> {
    let all = crate::testing::encoded(bytes).into_iter();
    all.map(|(name, bytes)| (Coding::named(name).unwrap(), bytes))
}

#[test]
fn a_compressed_body_is_decoded_for_any_chunks() {
    let secret = Arc::new(secret("KEY", "hunter2-hunter2", "a.example"));
    let placeholder = secret.placeholder().to_string();
    let redactor = Redactor::new(&[secret]);
    let mut text = b"give me hunter2-hunter2, ".repeat(10);
    text.extend((0..200_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8));
    for (coding, bytes) in encoded(&text) {
        for step in [1, 7, 1000, 65_536, 1 << 20] {
            let mut decoded = Decoded::new(coding, redactor.stream(Lengths::Free));
            let out = all(&mut decoded, &bytes, step);
            assert!(!decoded.failed(), "{coding:?} {step}");
            let expected = format!("give me {placeholder}, ").repeat(10);
            assert!(out.starts_with(expected.as_bytes()), "{coding:?} {step}");
            assert_eq!(out.len() - expected.len(), 200_000, "{coding:?} {step}");
        }
    }
}

#[test]
fn what_unfolds_without_end_goes_on_in_parts() {
    for (coding, bytes) in encoded(&vec![0; 8 << 20]) {
        assert!(bytes.len() < 20_000);
        let mut decoded = Decoded::new(coding, Box::new(Same));
        let mut next: Option<Bytes> = Some(decoded.feed(bytes.into()));
        let mut total = 0;
        while let Some(part) = next {
            assert!(part.len() <= 64 << 10);
            total += part.len();
            next = decoded.more();
        }
        total += decoded.finish().len();
        assert_eq!((total, decoded.failed()), (8 << 20, false), "{coding:?}");
    }
}

#[test]
fn a_body_that_is_not_in_its_coding_fails() {
    for (coding, bytes) in encoded(&b"some text that is long enough".repeat(9)) {
        let mut short = Decoded::new(coding, Box::new(Same));
        all(&mut short, &bytes[..bytes.len() - 1], 10);
        assert!(short.failed(), "{coding:?}");
        let mut empty = Decoded::new(coding, Box::new(Same));
        assert_eq!((all(&mut empty, b"", 1).len(), empty.failed()), (0, false));
    }
    let mut wrong = Decoded::new(Coding::Gzip, Box::new(Same));
    all(&mut wrong, b"<!doctype html>", 4);
    assert!(wrong.failed());
}

#[test]
fn several_members_are_one_body_and_what_follows_is_left_out() {
    for (coding, mut bytes) in encoded(b"12345678") {
        if matches!(coding, Coding::Gzip | Coding::Zstd) {
            bytes.extend(bytes.clone());
            let mut decoded = Decoded::new(coding, Box::new(Same));
            assert_eq!(all(&mut decoded, &bytes, 3), b"1234567812345678");
            assert!(!decoded.failed());
            bytes.extend(b"\0\0\0\0\0\0\0\0\0\0\0\0");
            let mut decoded = Decoded::new(coding, Box::new(Same));
            assert_eq!(all(&mut decoded, &bytes, 3), b"1234567812345678");
            assert!(!decoded.failed(), "{coding:?}");
        }
    }
}

#[test]
fn any_bytes_in_any_coding_do_no_harm() {
    bolero::check!()
        .with_test_time(TIME)
        .with_type::<(Vec<u8>, u8, u8)>()
        .for_each(|(bytes, which, step)| {
            let codings = [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd];
            let mut decoded = Decoded::new(codings[usize::from(which % 4)], Box::new(Same));
            all(&mut decoded, bytes, usize::from(*step));
        });
}
