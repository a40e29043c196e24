//! Signatures against RFCs' examples and public keys.

use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};

use super::*;

/// Keys that `openssl` made for these tests: RSA, P-256, Ed25519, each with its public key.
const RSA: [&str; 2] = [include_str!("rsa.pem"), include_str!("rsa.pub.pem")];
const EC: [&str; 2] = [include_str!("ec.pem"), include_str!("ec.pub.pem")];
const ED: [&str; 2] = [include_str!("ed.pem"), include_str!("ed.pub.pem")];

fn value(bytes: impl Into<Vec<u8>>) -> SecretValue {
    SecretValue::new(bytes).unwrap()
}

fn spec(algorithm: JwtAlgorithm) -> JwtSpec {
    JwtSpec {
        algorithm,
        key_id: "key-1".into(),
        issuer: "robot@project.example".into(),
        subject: String::new(),
        audience: "https://api.example/".into(),
        scope: "read write".into(),
        claims: Map::from_iter([("tier".to_owned(), Value::from(3))]),
        lifetime: Duration::from_secs(600),
    }
}

/// RFC 7515, appendix A.1: HMAC with SHA-256.
#[test]
fn the_example_of_rfc_7515() {
    let key =
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let input = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQ\
                 ogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let key = value(URL_SAFE_NO_PAD.decode(key).unwrap());
    let signed = JwtAlgorithm::Hs256.sign(&key, input).unwrap();
    let signature = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    assert_eq!(signed, format!("{input}.{signature}"));
}

/// RFC 8037, appendix A.4: Ed25519. The key is wrapped as RFC 8410 has it.
#[test]
fn the_example_of_rfc_8037() {
    let seed = URL_SAFE_NO_PAD
        .decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
        .unwrap();
    let wrapped = [
        &hex::decode("302e020100300506032b657004220420").unwrap(),
        &seed[..],
    ]
    .concat();
    let wrapped = base64::engine::general_purpose::STANDARD.encode(wrapped);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{wrapped}\n-----END PRIVATE KEY-----\n");
    let input = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signed = JwtAlgorithm::EdDsa.sign(&value(pem), input).unwrap();
    let signature =
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert_eq!(signed, format!("{input}.{signature}"));
}

#[test]
fn the_public_key_verifies_what_the_private_one_signed() {
    for (algorithm, [private, _], public) in [
        (
            JwtAlgorithm::Rs256,
            RSA,
            DecodingKey::from_rsa_pem(RSA[1].as_bytes()),
        ),
        (
            JwtAlgorithm::Es256,
            EC,
            DecodingKey::from_ec_pem(EC[1].as_bytes()),
        ),
        (
            JwtAlgorithm::EdDsa,
            ED,
            DecodingKey::from_ed_pem(ED[1].as_bytes()),
        ),
        (
            JwtAlgorithm::Hs256,
            ["a key of many bytes", ""],
            Ok(DecodingKey::from_secret(b"a key of many bytes")),
        ),
    ] {
        let jwt = Jwt::new(spec(algorithm)).unwrap();
        let granted = jwt.grant(&value(private)).unwrap();
        let token = String::from_utf8(granted.token.expose().to_vec()).unwrap();
        let mut validation = Validation::new(algorithm.into());
        validation.set_audience(&["https://api.example/"]);
        let read = decode::<Map<String, Value>>(&token, &public.unwrap(), &validation).unwrap();
        assert_eq!(read.header.kid.as_deref(), Some("key-1"));
        assert_eq!(read.claims["iss"], "robot@project.example");
        assert_eq!(read.claims["scope"], "read write");
        assert_eq!(read.claims["tier"], 3);
        assert!(!read.claims.contains_key("sub"));
        let time = |name: &str| read.claims[name].as_u64().unwrap();
        assert_eq!(time("exp") - time("iat"), 600);
        assert_eq!(granted.lifetime, Some(Duration::from_secs(570)));
        assert_eq!(decode_header(&token).unwrap().typ.as_deref(), Some("JWT"));
    }
}

#[test]
fn what_no_token_can_be_made_of_is_told() {
    let made = |change: fn(&mut JwtSpec)| {
        let mut spec = spec(JwtAlgorithm::Rs256);
        change(&mut spec);
        Jwt::new(spec)
    };
    let error = |change| made(change).unwrap_err();
    assert_eq!(
        error(|spec| spec.lifetime = Duration::from_secs(59)),
        JwtError::Lifetime
    );
    assert_eq!(
        error(|spec| spec.lifetime = Duration::from_secs(86401)),
        JwtError::Lifetime
    );
    assert_eq!(
        error(|spec| spec.scope = "x".repeat(MAX_CLAIMS)),
        JwtError::TooLong
    );
    assert_eq!(
        error(|spec| drop(spec.claims.insert("exp".into(), 1.into()))),
        JwtError::Times
    );
    let rsa = made(|_| ()).unwrap();
    assert_eq!(rsa.check(&value(RSA[0])), Ok(()));
    for wrong in [EC[0], RSA[1], "no key at all"] {
        assert_eq!(rsa.check(&value(wrong)), Err(JwtError::Key));
    }
}
