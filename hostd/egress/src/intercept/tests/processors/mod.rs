//! What is made of secrets, on its way through opened connections.

mod signed;
mod tokens;

use http::{HeaderValue, Request};

use super::world::{BodyOut, GOOD, World, echo, read};
use crate::processors::Processor;
use crate::secrets::{BindingsError, Hosts, Placeholder, Secret, SecretValue, Surface};

const KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// A secret for [`GOOD`], in headers.
fn processed(value: &str, processor: Processor) -> Secret {
    Secret::processed(
        "KEY".parse().unwrap(),
        SecretValue::new(value).unwrap(),
        processor,
        Hosts::parse(&[GOOD]).unwrap(),
        Surface::default(),
        Placeholder::generate().unwrap(),
    )
    .unwrap()
}

fn give(world: &World, secrets: Vec<Secret>) {
    let put = world.common.vault.put(|_| Ok::<_, BindingsError>(secrets));
    put.unwrap();
}

/// A world whose upstream says what it heard, and a secret for it; with its placeholder.
async fn with(h2: bool, secret: Secret) -> (World, String) {
    let world = World::with(if h2 { &["h2"] } else { &["http/1.1"] }, echo()).await;
    let placeholder = secret.placeholder().to_string();
    give(&world, vec![secret]);
    (world, placeholder)
}

async fn send(world: &World, h2: bool, asked: Request<BodyOut>) -> (u16, String) {
    let response = if h2 {
        world.http2().await.send_request(asked).await.unwrap()
    } else {
        world.http1().await.send_request(asked).await.unwrap()
    };
    let (status, _, text) = read(response).await;
    (status, text)
}

fn put(mut asked: Request<BodyOut>, name: &'static str, value: &str) -> Request<BodyOut> {
    let value = HeaderValue::from_str(value).unwrap();
    asked.headers_mut().insert(name, value);
    asked
}

/// What the upstream heard in a header.
fn heard<'a>(text: &'a str, name: &str) -> &'a str {
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    let mut values = lines.filter(|(header, _)| *header == name);
    values.next().map_or("", |(_, value)| value)
}
