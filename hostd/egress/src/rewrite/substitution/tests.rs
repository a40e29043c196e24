use std::num::NonZeroU32;

use bytes::Bytes;

use super::*;
use crate::secrets::Surface;
use crate::testing::{on, secret};

const VALUE: &str = "p/q \"r\"&s";

fn everywhere() -> Surface {
    Surface {
        path: true,
        query: true,
        body: true,
        websocket: true,
        ..Surface::default()
    }
}

fn bindings(surface: Surface) -> (Bindings, String) {
    let key = on("KEY", VALUE, "a.example", surface);
    let placeholder = key.placeholder().to_string();
    let other = secret("OTHER", "other-value", "b.example");
    (Bindings::new(vec![other, key]).unwrap(), placeholder)
}

fn head(path: &str, headers: &[(&str, &str)]) -> request::Parts {
    let mut builder = http::Request::builder().uri(path);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

fn substituted(bindings: &Bindings, head: &mut request::Parts) -> Substitution {
    let mut substitution =
        Substitution::new(bindings, head, |secret| secret.name().as_str() == "KEY");
    substitution.head(head).unwrap();
    substitution
}

#[test]
fn a_header_has_the_value_and_is_not_shown() {
    let (bindings, placeholder) = bindings(Surface::default());
    let bearer = format!("Bearer {placeholder}");
    let mut head = head("/", &[("authorization", &bearer), ("x-other", "plain")]);
    let substitution = substituted(&bindings, &mut head);
    assert_eq!(head.headers["authorization"], format!("Bearer {VALUE}"));
    assert!(!format!("{head:?}").contains(VALUE));
    assert_eq!(head.headers["x-other"], "plain");
    assert_eq!(substitution.uses().used(), ["KEY".parse().unwrap()]);
    assert!(substitution.uses().withheld().is_empty());
}

#[test]
fn a_url_that_gets_too_long_goes_nowhere() {
    let key = on("KEY", &"%".repeat(30_000), "a.example", everywhere());
    let path = format!("/?key={}", key.placeholder());
    let bindings = Bindings::new(vec![key]).unwrap();
    let mut head = head(&path, &[]);
    let mut substitution = Substitution::new(&bindings, &head, |_| true);
    assert_eq!(substitution.head(&mut head), Err(Unfit::Url));
}

#[test]
fn basic_credentials_are_encoded_again() {
    let (bindings, placeholder) = bindings(Surface::default());
    let written = STANDARD.encode(format!("user:{placeholder}"));
    let mut head = head("/", &[("authorization", &format!("Basic {written}"))]);
    let mut substitution = substituted(&bindings, &mut head);
    let sent = STANDARD.encode(format!("user:{VALUE}"));
    assert_eq!(head.headers["authorization"], format!("Basic {sent}"));
    let remembered = substitution.take_sent();
    assert_eq!(
        (&remembered[0].0[..], &remembered[0].1[..]),
        (sent.as_bytes(), written.as_bytes())
    );
}

#[test]
fn urls_are_encoded_as_they_must_be() {
    let (bindings, placeholder) = bindings(everywhere());
    for written in [
        placeholder.clone(),
        placeholder.replace('_', "%5F"),
        placeholder.replace('_', "%5f"),
    ] {
        let mut head = head(&format!("/v1/{written}/x?key={written}&n=1"), &[]);
        substituted(&bindings, &mut head);
        let value = "p%2Fq%20%22r%22%26s";
        assert_eq!(head.uri, *format!("/v1/{value}/x?key={value}&n=1"));
    }
}

#[test]
fn what_the_surface_does_not_name_stays_and_is_told() {
    let (bindings, placeholder) = bindings(Surface::default());
    let path = format!("/{placeholder}?{placeholder}");
    let mut head = head(&path, &[]);
    let substitution = substituted(&bindings, &mut head);
    assert_eq!(head.uri, *path);
    assert!(substitution.uses().used().is_empty());
    assert_eq!(substitution.uses().withheld(), ["KEY".parse().unwrap()]);
    assert!(substitution.body(&head.headers).is_none());
}

#[test]
fn a_secret_of_another_host_stays_and_is_told() {
    let other = secret("OTHER", "other-value", "b.example");
    let text = other.placeholder().to_string();
    let bindings = Bindings::new(vec![other]).unwrap();
    let mut head = head("/", &[("x-key", &text)]);
    let substitution = substituted(&bindings, &mut head);
    assert_eq!(head.headers["x-key"], text);
    assert_eq!(substitution.uses().withheld(), ["OTHER".parse().unwrap()]);
}

#[test]
fn bodies_are_escaped_as_their_type_needs() {
    let (bindings, placeholder) = bindings(everywhere());
    for (kind, value) in [
        ("application/json; charset=utf-8", r#"p/q \"r\"&s"#),
        ("application/vnd.api+json", r#"p/q \"r\"&s"#),
        ("application/x-www-form-urlencoded", "p%2Fq+%22r%22%26s"),
        ("text/plain", VALUE),
    ] {
        let mut head = head("/", &[("content-type", kind)]);
        let substitution = substituted(&bindings, &mut head);
        let text = format!("<{placeholder}>{placeholder}");
        for size in [1, 10, 1000] {
            let mut body = substitution.body(&head.headers).unwrap();
            let mut out: Vec<u8> = text
                .as_bytes()
                .chunks(size)
                .flat_map(|chunk| body.feed(Bytes::copy_from_slice(chunk)))
                .collect();
            out.extend_from_slice(&body.finish());
            assert_eq!(String::from_utf8_lossy(&out), format!("<{value}>{value}"));
        }
    }
}

#[test]
fn uses_are_counted_over_the_whole_request() {
    let surface = Surface {
        max_uses: NonZeroU32::new(2),
        ..everywhere()
    };
    let (bindings, placeholder) = bindings(surface);
    let mut head = head(&format!("/?{placeholder}"), &[("x-key", &placeholder)]);
    let substitution = substituted(&bindings, &mut head);
    assert_eq!(head.headers["x-key"], VALUE);
    let mut body = substitution.body(&head.headers).unwrap();
    assert_eq!(
        body.feed(Bytes::copy_from_slice(placeholder.as_bytes())),
        placeholder.as_bytes()
    );
    assert_eq!(substitution.uses().withheld(), ["KEY".parse().unwrap()]);
}

#[test]
fn a_text_that_only_looks_like_one_stays() {
    let (bindings, placeholder) = bindings(everywhere());
    let cut = placeholder.get(..placeholder.len() - 1).unwrap();
    let unknown = "DENO_SECRET_PLACEHOLDER_0123456789abcdef0123456789abcdef";
    for text in [cut, unknown, &placeholder.to_lowercase()] {
        let mut head = head("/", &[("x-key", text)]);
        let substitution = substituted(&bindings, &mut head);
        assert_eq!(head.headers["x-key"], text);
        assert!(substitution.uses().withheld().is_empty());
    }
}
