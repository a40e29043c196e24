//! Requests and answers as RFC 6749 and RFC 7523 have them.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Map, json};

use super::*;
use crate::processors::{JwtAlgorithm, JwtSpec};

fn value(text: &str) -> SecretValue {
    SecretValue::new(text).unwrap()
}

fn spec(grant: Grant) -> OAuth2Spec {
    OAuth2Spec {
        endpoint: "https://login.example:8443/token?tenant=1".parse().unwrap(),
        client_id: "s6BhdRkqt3".into(),
        client_secret: None,
        client_auth: ClientAuth::Basic,
        grant,
        scopes: Vec::new(),
    }
}

fn asked(spec: OAuth2Spec, secret: &str) -> (request::Parts, String) {
    let (head, body) = OAuth2::new(spec).unwrap().request(&value(secret)).unwrap();
    (head, body.to_string())
}

/// RFC 6749, section 6: the client of section 2.3.1 refreshes a token.
#[test]
fn a_token_is_refreshed_as_in_the_rfc() {
    let mut spec = spec(Grant::RefreshToken);
    spec.client_secret = Some(value("gX1fBat3bV"));
    let (head, body) = asked(spec.clone(), "tGzv3JOkF0XG5Qx2TlKWIA");
    assert_eq!(head.method, Method::POST);
    assert_eq!(head.uri, "/token?tenant=1");
    assert_eq!(head.headers["host"], "login.example:8443");
    assert_eq!(
        head.headers["authorization"],
        "Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW"
    );
    assert!(head.headers["authorization"].is_sensitive());
    assert_eq!(
        head.headers["content-type"],
        "application/x-www-form-urlencoded"
    );
    assert_eq!(
        body,
        "grant_type=refresh_token&refresh_token=tGzv3JOkF0XG5Qx2TlKWIA"
    );
    spec.client_auth = ClientAuth::Body;
    spec.scopes = vec!["read".into(), "write:all".into()];
    let (head, body) = asked(spec.clone(), "tGzv3JOkF0XG5Qx2TlKWIA");
    assert!(!head.headers.contains_key("authorization"));
    assert_eq!(
        body,
        "grant_type=refresh_token&refresh_token=tGzv3JOkF0XG5Qx2TlKWIA&scope=read+write%3Aall\
         &client_id=s6BhdRkqt3&client_secret=gX1fBat3bV"
    );
    // A public client names itself.
    spec.client_secret = None;
    spec.client_auth = ClientAuth::Basic;
    let (head, body) = asked(spec, "tGzv3JOkF0XG5Qx2TlKWIA");
    assert!(!head.headers.contains_key("authorization"));
    assert!(body.ends_with("&client_id=s6BhdRkqt3"), "{body}");
}

/// RFC 6749, section 4.4.2; what is not plain is encoded before it is Basic credentials.
#[test]
fn client_credentials_are_the_value() {
    let (head, body) = asked(spec(Grant::ClientCredentials), "a secret: 100%");
    let text = head.headers["authorization"].to_str().unwrap();
    let decoded = STANDARD
        .decode(text.strip_prefix("Basic ").unwrap())
        .unwrap();
    assert_eq!(decoded, b"s6BhdRkqt3:a+secret%3A+100%25");
    assert_eq!(body, "grant_type=client_credentials");
}

/// RFC 7523, section 2.1.
#[test]
fn an_assertion_is_signed_with_the_value() {
    let jwt = Jwt::new(JwtSpec {
        algorithm: JwtAlgorithm::Hs256,
        key_id: String::new(),
        issuer: "robot".into(),
        subject: String::new(),
        audience: "https://login.example/token".into(),
        scope: "read".into(),
        claims: Map::new(),
        lifetime: Duration::from_secs(600),
    });
    let mut spec = spec(Grant::JwtBearer(jwt.unwrap()));
    spec.client_id = String::new();
    let (head, body) = asked(spec, "the key of the robot");
    assert!(!head.headers.contains_key("authorization"));
    let start = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=";
    let assertion = body.strip_prefix(start).unwrap();
    assert_eq!(assertion.split('.').count(), 3, "{body}");
    assert!(!assertion.contains('&'), "{body}");
}

#[test]
fn an_answer_is_a_token_or_an_error() {
    let read = |status: u16, body: &str| {
        OAuth2::read(StatusCode::from_u16(status).unwrap(), body.as_bytes())
    };
    // RFC 6749, section 5.1.
    let example = json!({
        "access_token": "2YotnFZFEjr1zCsicMWpAA",
        "token_type": "example",
        "expires_in": 3600,
        "refresh_token": "tGzv3JOkF0XG5Qx2TlKWIA",
        "example_parameter": "example_value",
    });
    let granted = read(200, &example.to_string()).unwrap();
    assert_eq!(granted.token.expose(), b"2YotnFZFEjr1zCsicMWpAA");
    assert_eq!(granted.lifetime, Some(Duration::from_secs(3600)));
    assert_eq!(granted.refresh.unwrap().expose(), b"tGzv3JOkF0XG5Qx2TlKWIA");
    for (expires, lifetime) in [
        ("\"60\"", Some(60)),
        ("6e1", Some(60)),
        ("-1", None),
        ("null", None),
        ("\"soon\"", None),
        ("18446744073709551615", Some(u64::MAX)),
    ] {
        let body = format!(r#"{{"access_token": "12345678", "expires_in": {expires}}}"#);
        let granted = read(200, &body).unwrap();
        assert_eq!(
            granted.lifetime,
            lifetime.map(Duration::from_secs),
            "{expires}"
        );
        assert!(granted.refresh.is_none());
    }
    for (status, body, error) in [
        (
            400,
            r#"{"error": "invalid_grant", "error_description": "no"}"#,
            "answered 400, invalid_grant",
        ),
        (401, r#"{"error": "a-secret-of-theirs"}"#, "answered 401"),
        (503, "<html>", "answered 503"),
        (302, "", "answered 302"),
        (200, "<html>", "answer has no access token"),
        (200, r#"{"access_token": 1}"#, "answer has no access token"),
        (
            200,
            r#"{"access_token": "short"}"#,
            "answer has a token that is too short or too long",
        ),
        (
            200,
            r#"{"access_token": "12345678\r\nx: y"}"#,
            "answer has a token that no header could hold",
        ),
    ] {
        let text = read(status, body).err().unwrap().to_string();
        assert!(text.ends_with(error), "{text}");
        assert!(!text.contains("theirs"), "{text}");
    }
}

#[test]
fn what_cannot_be_asked_is_told() {
    let made = |change: fn(&mut OAuth2Spec)| {
        let mut spec = spec(Grant::ClientCredentials);
        change(&mut spec);
        OAuth2::new(spec).err()
    };
    assert_eq!(made(|_| ()), None);
    assert_eq!(
        made(|spec| spec.client_id = String::new()),
        Some(OAuth2Error::NoClient)
    );
    assert_eq!(
        made(|spec| spec.client_id = "x".repeat(MAX_TEXT + 1)),
        Some(OAuth2Error::TooLong)
    );
    assert_eq!(
        made(|spec| spec.scopes = vec!["a b".into()]),
        Some(OAuth2Error::Scope)
    );
    assert_eq!(
        made(|spec| spec.scopes = vec![String::new()]),
        Some(OAuth2Error::Scope)
    );
    let second = |spec: &mut OAuth2Spec| spec.client_secret = Some(value("another secret"));
    assert_eq!(made(second), Some(OAuth2Error::TwoSecrets));
}
