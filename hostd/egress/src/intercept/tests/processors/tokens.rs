//! Tokens that are signed here or got from a token endpoint.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use jsonwebtoken::{DecodingKey, Validation, decode};
use serde_json::{Map, Value, json};

use super::super::world::{GOOD, Handler, World, echo, full, get, handler, told};
use super::{give, heard, processed, put, send, with};
use crate::processors::{
    ClientAuth, Grant, Jwt, JwtAlgorithm, JwtSpec, OAuth2, OAuth2Spec, Processor,
};
use crate::secrets::Secret;

/// Where tokens are got.
const LOGIN: &str = "login.example";
const REFRESH: &str = "the-first-refresh-token";

fn jwt() -> Jwt {
    Jwt::new(JwtSpec {
        algorithm: JwtAlgorithm::Hs256,
        key_id: String::new(),
        issuer: "robot".into(),
        subject: String::new(),
        audience: String::new(),
        scope: String::new(),
        claims: Map::new(),
        lifetime: Duration::from_secs(600),
    })
    .unwrap()
}

fn oauth2() -> Secret {
    let spec = OAuth2Spec {
        endpoint: format!("https://{LOGIN}/token").parse().unwrap(),
        client_id: "client".into(),
        client_secret: None,
        client_auth: ClientAuth::Body,
        grant: Grant::RefreshToken,
        scopes: Vec::new(),
    };
    processed(REFRESH, Processor::OAuth2(OAuth2::new(spec).unwrap()))
}

/// What a token endpoint was asked, and a handler that gives out tokens, and with each another refresh token.
#[derive(Clone, Default)]
struct Login(Arc<Mutex<Vec<String>>>);

impl Login {
    fn handler(&self) -> Handler {
        let asked = self.0.clone();
        handler(move |request| {
            let asked = asked.clone();
            async move {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let number = {
                    let mut asked = asked.lock().unwrap();
                    asked.push(String::from_utf8(body.to_vec()).unwrap());
                    asked.len()
                };
                tokio::time::sleep(Duration::from_millis(50)).await;
                let answer = json!({
                    "access_token": format!("access-token-{number}"),
                    "refresh_token": format!("refresh-token-{number}"),
                    "token_type": "Bearer",
                    "expires_in": 3600,
                });
                Response::new(full(answer.to_string()))
            }
        })
    }

    fn asked(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// An upstream that echoes what it heard, base64 of it too, and refuses one token.
fn refusing(refused: &'static str) -> Handler {
    handler(move |request| async move {
        let heard = request.headers()["authorization"]
            .to_str()
            .unwrap()
            .to_owned();
        let mut response = Response::new(full(format!("{heard} {}", hex::encode(&heard))));
        if heard.ends_with(refused) {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
        }
        response
    })
}

/// A world with a token endpoint, and an upstream that refuses this token.
async fn with_login(refused: &'static str) -> (World, String, Login) {
    let world = World::with(&["http/1.1"], refusing(refused)).await;
    let login = Login::default();
    world
        .tls_upstream(LOGIN, LOGIN, &["http/1.1"], login.handler())
        .await;
    let secret = oauth2();
    let placeholder = secret.placeholder().to_string();
    give(&world, vec![secret]);
    (world, placeholder, login)
}

async fn ask(world: &World, placeholder: &str) -> (u16, String) {
    let asked = put(
        get(false, "/"),
        "authorization",
        &format!("Bearer {placeholder}"),
    );
    send(world, false, asked).await
}

#[tokio::test]
async fn a_token_is_signed_and_comes_back_as_the_placeholder() {
    let tokens: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = tokens.clone();
    let noting = handler(move |request| {
        let heard = request.headers()["authorization"]
            .to_str()
            .unwrap()
            .to_owned();
        noted.lock().unwrap().push(heard.clone());
        async move { Response::new(full(heard)) }
    });
    let world = World::with(&["h2"], noting).await;
    let secret = processed("the key of the robot", Processor::Jwt(jwt()));
    let placeholder = secret.placeholder().to_string();
    give(&world, vec![secret]);
    for _ in 0..2 {
        let asked = put(
            get(true, "/"),
            "authorization",
            &format!("Bearer {placeholder}"),
        );
        let (status, text) = send(&world, true, asked).await;
        assert_eq!((status, text), (200, format!("Bearer {placeholder}")));
    }
    let tokens = tokens.lock().unwrap().clone();
    assert_eq!(tokens[0], tokens[1]);
    let token = tokens[0].strip_prefix("Bearer ").unwrap();
    let key = DecodingKey::from_secret(b"the key of the robot");
    let read = decode::<Map<String, Value>>(token, &key, &Validation::default()).unwrap();
    assert_eq!(read.claims["iss"], "robot");
}

#[tokio::test]
async fn one_token_is_got_for_fifty_requests() {
    let (world, placeholder, login) = with_login("no such token").await;
    // The guest may not reach the endpoint itself; its maker named it.
    world
        .outside
        .forbidden
        .lock()
        .unwrap()
        .push(LOGIN.to_owned());
    let all = (0..50).map(|_| ask(&world, &placeholder));
    let encoded = hex::encode(format!("Bearer {placeholder}"));
    for (status, text) in futures::future::join_all(all).await {
        assert_eq!(status, 200, "{text}");
        assert_eq!(text, format!("Bearer {placeholder} {encoded}"));
    }
    let asked = format!("grant_type=refresh_token&refresh_token={REFRESH}&client_id=client");
    assert_eq!(login.asked(), [asked]);
}

#[tokio::test]
async fn a_refused_token_is_got_anew_with_the_newest_refresh_token() {
    let (world, placeholder, login) = with_login("access-token-1").await;
    let (status, text) = ask(&world, &placeholder).await;
    assert_eq!(status, 401);
    assert!(!text.contains("access-token"), "{text}");
    let (status, text) = ask(&world, &placeholder).await;
    assert_eq!(status, 200);
    assert!(!text.contains("access-token"), "{text}");
    assert!(login.asked()[1].contains("&refresh_token=refresh-token-1&"));
    assert_eq!(login.asked().len(), 2);
    // The one before is not told either.
    let asked = put(get(false, "/"), "authorization", "Bearer access-token-1");
    let (_, text) = send(&world, false, asked).await;
    assert!(!text.contains("access-token"), "{text}");
}

#[tokio::test]
async fn a_request_without_the_placeholder_asks_for_nothing() {
    let (world, _, login) = with_login("no such token").await;
    let asked = put(get(false, "/"), "authorization", "Bearer of-its-own");
    let (status, text) = send(&world, false, asked).await;
    assert!(
        status == 200 && text.starts_with("Bearer of-its-own"),
        "{text}"
    );
    assert!(login.asked().is_empty());
}

#[tokio::test]
async fn an_endpoint_that_gives_none_is_told_of() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let broken = handler(move |_| {
        let number = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            let (status, body) = match number {
                0 => (
                    400,
                    json!({"error": "invalid_grant", "error_description": "it was REVOKED"})
                        .to_string(),
                ),
                _ => (
                    200,
                    "x".repeat(super::super::super::limits::TOKEN_ANSWER + 1),
                ),
            };
            let mut response = Response::new(full(body));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response
        }
    });
    for (host, problem) in [
        (LOGIN, "answered 400, invalid_grant"),
        (LOGIN, "'s answer is too long"),
        // A certificate for another one.
        ("other.example", "certificate that is not valid"),
    ] {
        let world = World::with(&["http/1.1"], echo()).await;
        world
            .tls_upstream(LOGIN, host, &["http/1.1"], broken.clone())
            .await;
        let secret = oauth2();
        let placeholder = secret.placeholder().to_string();
        give(&world, vec![secret]);
        let mut events = world.log.subscribe();
        for _ in 0..2 {
            let (status, text) = ask(&world, &placeholder).await;
            assert!(status == 502 && text.contains(problem), "{status} {text}");
            assert!(
                text.contains("the secret KEY") && !text.contains("REVOKED"),
                "{text}"
            );
        }
        let line = told(&mut events).await;
        assert!(
            line.contains("secrets=KEY failed") && line.contains("token"),
            "{line}"
        );
    }
    // Each failure was told to the request that came right after it, too.
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn nobody_listens_at_the_endpoint() {
    let (world, placeholder) = with(false, oauth2()).await;
    let (status, text) = ask(&world, &placeholder).await;
    assert!(
        status == 502 && text.contains("could not be reached"),
        "{text}"
    );
    assert_eq!(heard(&text, "authorization"), "");
    assert_eq!(
        world.dialled(),
        [format!("{GOOD}:443"), format!("{LOGIN}:443")]
    );
}
