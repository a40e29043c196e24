use super::*;

fn sealed(key: &SealingKey) -> Sealed {
    let hosts = Hosts::parse(&["api.example", "*.b.example:8443"]).unwrap();
    let value = SecretValue::new("sk-live-51a9c3e7").unwrap();
    let name = "API_KEY".parse().unwrap();
    key.public().seal(&name, &hosts, None, &value).unwrap()
}

/// RFC 9180, appendix A.2.1, the first encryption.
#[test]
fn the_suite_is_that_of_the_rfc() {
    let bytes = |text: &str| hex::decode(text).unwrap();
    let private = bytes("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb");
    let encapsulated = bytes("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a");
    let key = SealingKey::from_bytes(&private).unwrap();
    let text = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, Kem>(
        &OpModeR::Base,
        key.key(),
        &<Kem as hpke::Kem>::EncappedKey::from_bytes(&encapsulated).unwrap(),
        b"Ode on a Grecian Urn",
        &bytes(
            "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28",
        ),
        b"Count-0",
    );
    assert_eq!(text.unwrap(), b"Beauty is truth, truth beauty");
    assert_eq!(
        key.public().key().to_bytes()[..],
        bytes("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a")
    );
}

#[test]
fn only_the_host_that_it_is_for_opens_it() {
    let key = SealingKey::generate().unwrap();
    let text = sealed(&key).to_string();
    let read: Sealed = text.parse().unwrap();
    assert_eq!(read, sealed(&key).with_body_of(&read));
    assert_eq!(read.name(), "API_KEY");
    let hosts: Vec<_> = read.hosts().texts().collect();
    assert_eq!(hosts, ["api.example", "*.b.example:8443"]);
    let kept = SealingKey::from_bytes(&key.to_bytes()).unwrap();
    assert_eq!(kept.unseal(&read).unwrap().expose(), b"sk-live-51a9c3e7");
    assert!(!text.contains("51a9c3e7") && !format!("{key:?} {read:?}").contains("51a9c3e7"));

    let other = SealingKey::generate().unwrap();
    let error = other.unseal(&read).unwrap_err();
    assert!(
        matches!(&error, UnsealError::OtherKey { for_key, .. } if *for_key == key.public().id())
    );
}

impl Sealed {
    fn with_body_of(mut self, other: &Self) -> Self {
        let (encapsulated, ciphertext) = other.parts();
        self.finish(encapsulated, ciphertext);
        self
    }
}

#[test]
fn no_bit_of_it_can_change() {
    let key = SealingKey::generate().unwrap();
    let text = sealed(&key).to_string();
    for at in 0..text.len() {
        for bit in 0..7 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            // Bits that the last character of a part has too many of are refused as base64, other texts by the tag.
            let opened = String::from_utf8(bytes)
                .ok()
                .and_then(|text| text.parse::<Sealed>().ok())
                .map(|sealed| key.unseal(&sealed));
            assert!(!matches!(opened, Some(Ok(_))), "{at} {bit}");
        }
    }
    for length in 0..text.len() {
        let opened = text[..length].parse::<Sealed>().map(|cut| key.unseal(&cut));
        assert!(!matches!(opened, Ok(Ok(_))), "{length}");
    }
}

#[test]
fn hosts_cannot_be_exchanged() {
    let key = SealingKey::generate().unwrap();
    let (one, hosts) = (sealed(&key), Hosts::parse(&["evil.example"]).unwrap());
    let name = "API_KEY".parse().unwrap();
    let aimed = Sealed::unfinished(key.public().id(), &name, &hosts, Some("other"));
    let aimed = aimed.with_body_of(&one);
    assert_eq!(key.unseal(&aimed).unwrap_err(), UnsealError::Altered);
}

#[test]
fn what_is_none_is_told() {
    for text in [
        "",
        "x.y.z",
        "thaw-sealed-1.e30.AAAA",
        "thaw-sealed-1..",
        "thaw-sealed-1.%.%",
    ] {
        assert!(
            matches!(text.parse::<Sealed>(), Err(SealedError::Form(_))),
            "{text}"
        );
    }
    let long = "x".repeat(MAX_SEALED + 1);
    assert_eq!(
        long.parse::<Sealed>(),
        Err(SealedError::TooLong(MAX_SEALED + 1))
    );
    for key in ["", "thaw-key-1.", "thaw-key-1.AAAA", "sk-live"] {
        assert_eq!(key.parse::<PublicKey>(), Err(KeyError::Text), "{key}");
    }
    let key = SealingKey::generate().unwrap();
    assert_eq!(key.public().to_string().parse().as_ref(), Ok(key.public()));
    assert_eq!(
        SealingKey::from_bytes(&[0; 31]).unwrap_err(),
        KeyError::Length(31)
    );
}
