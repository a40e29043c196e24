//! Programs as they come from the distribution, with nothing set in them or for them: each sends a secret that it does not
//! have, and hears only of the placeholder that it has.
#![allow(missing_docs)]

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use protocol::hostd::v1::create_sandbox_request::Source;
use protocol::hostd::v1::{Secret, SecretSurface};
use protocol::types::v1::ProcessSpec;
use tests::host::HostOptions;
use tests::process::{program, python, shell};
use tests::products::Products;
use tests::stage::{Stage, key, network};
use tests::world::guard::{self, KEY};
use tests::world::{Seen, git, packages};
use tests::{Host, Result, Sandbox, suite};

suite!(each_sends_the_secret_and_hears_of_the_placeholder);

/// A program, and what has to come of it.
struct Client {
    name: &'static str,
    program: ProcessSpec,
    /// A request that has to arrive.
    arrives: fn(&Seen) -> bool,
    /// What it has to print. `{}` is the placeholder.
    prints: Vec<String>,
}

fn clients() -> Vec<Client> {
    let bearer = || vec!["Bearer {}".to_owned()];
    vec![
        Client {
            name: "curl, server-sent events",
            program: shell(
                "curl -sSN -m 60 -H \"authorization: Bearer $API_KEY\" https://api.thaw.example/events",
            ),
            arrives: |seen| seen.path == "/events" && is_bearer(seen),
            prints: (0..3)
                .map(|number| format!("data: {number} Bearer {{}}"))
                .collect(),
        },
        Client {
            name: "Python, requests",
            program: python(include_str!("requests.py")),
            arrives: |seen| seen.path == "/requests" && is_bearer(seen),
            prints: bearer(),
        },
        Client {
            name: "Python, httpx",
            program: python(include_str!("httpx.py")),
            arrives: |seen| seen.path == "/httpx" && seen.version == "HTTP/2.0" && is_bearer(seen),
            prints: vec![
                "HTTP/2 {\"sni\":\"api.thaw.example\"".to_owned(),
                "Bearer {}".to_owned(),
            ],
        },
        Client {
            name: "Node, fetch",
            program: program([
                "node",
                "--input-type=module",
                "--eval",
                include_str!("fetch.mjs"),
            ]),
            arrives: |seen| seen.path == "/fetch" && is_bearer(seen),
            prints: bearer(),
        },
        Client {
            name: "Python, websockets",
            program: python(include_str!("websocket.py")),
            arrives: |seen| {
                seen.path == "/socket" && is_bearer(seen) && seen.body == format!("2: {KEY}")
            },
            prints: (0..3).map(|number| format!("{number}: {{}}")).collect(),
        },
        Client {
            name: "Python, gRPC",
            program: python(include_str!("grpc.py")),
            arrives: |seen| seen.path.ends_with("/Converse") && is_bearer(seen),
            prints: [
                "b'again' b'again' b'again'",
                "b'2'",
                "key='x-seen-authorization', value='Bearer {}'",
                "key='x-seen-at-the-end', value='Bearer {}'",
                "StatusCode.OK",
            ]
            .map(str::to_owned)
            .to_vec(),
        },
        Client {
            name: "git clone",
            program: shell(&format!(
                "cd /tmp && GIT_TRACE_CURL=1 git clone -q https://{}:$API_KEY@git.thaw.example{} clone 2>&1 \
                 | grep -o 'x-seen-authorization: .*'; \
                 cat clone/{}",
                guard::USER,
                git::REPOSITORY,
                git::FILE
            )),
            arrives: |seen| seen.path == "/repository.git/git-upload-pack" && is_basic(seen),
            prints: vec![
                git::CONTENT.to_owned(),
                "x-seen-authorization: Basic".to_owned(),
            ],
        },
        Client {
            name: "pip install",
            program: shell(&format!(
                "cd /tmp && pip install -q --target packages --index-url https://{}:$API_KEY@packages.thaw.example{} {} \
                 && PYTHONPATH=packages python3 -c 'import thaw_greeting; print(thaw_greeting.WORDS)'",
                guard::USER,
                packages::INDEX,
                packages::PACKAGE
            )),
            arrives: |seen| seen.path.ends_with(".whl") && is_basic(seen),
            prints: vec![packages::WORDS.to_owned()],
        },
    ]
}

fn is_bearer(seen: &Seen) -> bool {
    seen.headers.get("authorization") == Some(&format!("Bearer {KEY}"))
}

fn is_basic(seen: &Seen) -> bool {
    seen.headers.get("authorization") == Some(&guard::basic())
}

async fn each_sends_the_secret_and_hears_of_the_placeholder(_: Arc<Host>) -> Result {
    let products = Products::find()?;
    let mut options = HostOptions::new(products)?;
    options.images = vec![products.client_images()?];
    let stage = Stage::start(options).await?;
    let hosts = ["api", "git", "grpc", "packages"].map(|name| format!("{name}.thaw.example"));
    let hosts = hosts.each_ref().map(String::as_str);
    let secret = Secret {
        surface: Some(SecretSurface {
            websocket: true,
            ..Default::default()
        }),
        ..key(KEY, &hosts)
    };
    let source = Source::Image("clients".to_owned());
    let sandbox = stage.sandbox(source, network(&hosts, vec![secret])).await?;
    let placeholder = sandbox.says("echo $API_KEY").await?;
    let mut failures = Vec::new();
    for client in clients() {
        let started = Instant::now();
        let tried = try_out(&stage, &sandbox, &client, &placeholder).await;
        println!("{}: {:.1} s", client.name, started.elapsed().as_secs_f32());
        failures.extend(
            tried
                .err()
                .map(|error| format!("{}: {error:#}", client.name)),
        );
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    stage.end().await
}

async fn try_out(stage: &Stage, sandbox: &Sandbox, client: &Client, placeholder: &str) -> Result {
    let before = stage.world.requests()?.len();
    let output = sandbox
        .start(client.program.clone())
        .await?
        .output()
        .await?;
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(!said.contains(KEY), "the value came back: {said}");
    ensure!(
        !said.contains(&guard::basic()),
        "the value came back: {said}"
    );
    ensure!(output.code() == Some(0), "{:?}: {said}", output.status);
    for expected in &client.prints {
        let expected = expected.replace("{}", placeholder);
        ensure!(said.contains(&expected), "no {expected:?} in {said}");
    }
    let requests = stage.world.requests()?;
    let new = requests.get(before..).context("requests were lost")?;
    ensure!(new.iter().any(client.arrives), "what arrived: {new:#?}");
    Ok(())
}
