//! The only way out: what sandboxes reach, and what becomes of their secrets.
#![allow(missing_docs)]

use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use protocol::hostd::v1::create_sandbox_request::Source;
use protocol::hostd::v1::o_auth2_processor::{ClientAuth, Grant};
use protocol::hostd::v1::secret::Material;
use protocol::hostd::v1::secret_processor::Kind;
use protocol::hostd::v1::{
    CreateSandboxRequest, GetNetworkRequest, HmacProcessor, Network, NetworkPolicy,
    OAuth2Processor, PutSecretsRequest, RemoveSecretRequest, Secret, SecretInheritance,
    SecretProcessor, SecretSurface, SetPolicyRequest, WatchNetworkRequest,
};
use protocol::types::v1::exit_status::Status as Ended;
use tests::host::HostOptions;
use tests::process::Output;
use tests::products::Products;
use tests::refusal::expect;
use tests::stage::{Stage, key, network};
use tests::thaw::Thaw;
use tests::world::TOKEN;
use tests::{Host, Result, Sandbox, suite};
use tonic::Code;

suite!(
    secrets_go_out_and_come_back_as_placeholders,
    secrets_are_keys_and_grants_too,
    policy_and_secrets_change_while_it_runs,
    a_restored_sandbox_has_what_its_creator_says,
    a_sandbox_without_a_network_reaches_nothing,
    a_network_that_makes_no_sense_is_refused,
);

const VALUE: &str = "sk-live-51a9c3e7f0b24d68";
const PLACEHOLDER: &str = "DENO_SECRET_PLACEHOLDER_";

async fn stage() -> Result<Stage> {
    Stage::start(HostOptions::with_default_snapshot(Products::find()?)?).await
}

/// Restored from a snapshot.
async fn restored(stage: &Stage, snapshot: &str, network: Network) -> Result<Sandbox> {
    let source = Source::Snapshot(snapshot.to_owned());
    stage.sandbox(source, network).await
}

async fn fresh(stage: &Stage, network: Network) -> Result<Sandbox> {
    restored(stage, "default", network).await
}

fn policy(allow: &[&str]) -> NetworkPolicy {
    NetworkPolicy {
        allow: allow.iter().map(ToString::to_string).collect(),
        ..Default::default()
    }
}

fn well(output: &Output) -> bool {
    output.status.status == Some(Ended::Code(0))
}

/// A request with the key in a header; the server answers with what it saw.
const ASK: &str =
    "curl -sS -m 60 -H \"authorization: Bearer $API_KEY\" https://api.thaw.example/echo";

async fn secrets_go_out_and_come_back_as_placeholders(_: Arc<Host>) -> Result {
    let stage = stage().await?;
    let mut watch = stage
        .host
        .clients()
        .networks()
        .watch(WatchNetworkRequest::default())
        .await?
        .into_inner();
    let secret = Secret {
        surface: Some(SecretSurface {
            query: true,
            body: true,
            ..Default::default()
        }),
        ..key(VALUE, &["api.thaw.example"])
    };
    let sandbox = fresh(
        &stage,
        network(&["api.thaw.example", "other.thaw.example"], vec![secret]),
    )
    .await?;
    let placeholder = sandbox.says("echo $API_KEY").await?;
    ensure!(placeholder.starts_with(PLACEHOLDER), "{placeholder}");

    let answer = sandbox.says(ASK).await?;
    ensure!(
        answer.contains(&format!("Bearer {placeholder}")),
        "{answer}"
    );
    ensure!(!answer.contains(VALUE), "the value came back: {answer}");
    let requests = stage.world.requests()?;
    let seen = requests.last().context("no request arrived")?;
    ensure!(
        seen.headers.get("authorization").map(String::as_str) == Some(&format!("Bearer {VALUE}")),
        "{seen:?}"
    );
    ensure!(
        seen.version == "HTTP/2.0" && seen.sni == "api.thaw.example",
        "{seen:?}"
    );

    // Python's own client, with the value in the query and the body.
    let python = "python3 - <<'END'\n\
        import os, urllib.request, urllib.parse\n\
        key = os.environ['API_KEY']\n\
        url = 'https://api.thaw.example/q?' + urllib.parse.urlencode({'key': key})\n\
        print(urllib.request.urlopen(url, data=('k=' + key).encode(), timeout=60).read().decode())\n\
        END";
    let answer = sandbox.says(python).await?;
    ensure!(
        !answer.contains(VALUE) && answer.contains(&placeholder),
        "{answer}"
    );
    let requests = stage.world.requests()?;
    let seen = requests.last().context("no request arrived")?;
    ensure!(seen.path == format!("/q?key={VALUE}"), "{seen:?}");
    ensure!(seen.body == format!("k={VALUE}"), "{seen:?}");

    // Another allowed host gets the placeholder, which is worth nothing.
    let other = unopened(ASK).replace("api.thaw", "other.thaw");
    let answer = sandbox.says(&other).await?;
    ensure!(answer.contains(&placeholder), "{answer}");
    let seen = stage.world.requests()?;
    let seen = seen.last().context("no request arrived")?;
    ensure!(!format!("{seen:?}").contains(VALUE), "{seen:?}");

    // Large bodies pass whole, both ways.
    let large = "head -c 20000000 /dev/zero | tr '\\0' x >/tmp/large; sha256sum </tmp/large | cut -d' ' -f1; \
        curl -sS -m 300 --data-binary @/tmp/large https://api.thaw.example/digest; echo; \
        curl -sS -m 300 https://api.thaw.example/bytes/20000000 | sha256sum | cut -d' ' -f1";
    let digests = sandbox.says(large).await?;
    let digests: Vec<_> = digests.split_whitespace().collect();
    ensure!(
        digests.len() == 3 && digests.iter().all(|one| *one == digests[0]),
        "{digests:?}"
    );

    let first = watch.message().await?.context("nothing is told")?;
    ensure!(
        first.sandbox_id == sandbox.id() && first.protocol == "http",
        "{first:?}"
    );
    ensure!(
        first.secrets == ["API_KEY"] && first.outcome == "allowed",
        "{first:?}"
    );
    ensure!(
        first.host == "api.thaw.example" && first.path == "/echo",
        "{first:?}"
    );
    let log = stage.host.log_tail();
    ensure!(!log.contains(VALUE), "the value is in the log");
    stage.end().await
}

/// HMAC-SHA-256 of `a body` under [`VALUE`], as openssl makes it.
const SIGNATURE: &str = "2eff012e342121e4f5ec4d8a99b0232c72de0094a9c73e38ce077b9864744052";

fn processed(secret: Secret, kind: Kind) -> Secret {
    Secret {
        processor: Some(SecretProcessor { kind: Some(kind) }),
        ..secret
    }
}

async fn secrets_are_keys_and_grants_too(_: Arc<Host>) -> Result {
    let stage = stage().await?;
    let allow = ["api.thaw.example"];
    let signs = processed(key(VALUE, &allow), Kind::Hmac(HmacProcessor::default()));
    let mut grant = OAuth2Processor {
        // Not a host that the sandbox may reach.
        token_url: "https://other.thaw.example/token".into(),
        client_id: "robot".into(),
        client_auth: ClientAuth::Body.into(),
        grant: Some(Grant::ClientCredentials(Default::default())),
        ..Default::default()
    };
    let token = |grant: &OAuth2Processor| {
        let token = processed(
            key("the-secret-of-the-robot", &allow),
            Kind::Oauth2(grant.clone()),
        );
        Secret {
            name: "TOKEN".into(),
            ..token
        }
    };
    let sandbox = fresh(&stage, network(&allow, vec![signs, token(&grant)])).await?;
    let ask = "curl -sS -m 60 -H \"authorization: Bearer $TOKEN\" -H \"x-signature: sha256=$API_KEY\" \
        -d 'a body' https://api.thaw.example/echo";
    let answer = sandbox.says(ask).await?;
    ensure!(
        answer.contains(&format!("Bearer {PLACEHOLDER}")),
        "{answer}"
    );
    ensure!(!answer.contains(TOKEN), "the token came back: {answer}");
    let requests = stage.world.requests()?;
    let [asked, seen] = &requests[..] else {
        bail!("{requests:?}");
    };
    ensure!(
        asked.path == "/token" && asked.body.starts_with("grant_type=client_credentials&"),
        "{asked:?}"
    );
    let header = |name: &str| seen.headers.get(name).map(String::as_str);
    ensure!(
        header("x-signature") == Some(&format!("sha256={SIGNATURE}")),
        "{seen:?}"
    );
    ensure!(
        header("authorization") == Some(&format!("Bearer {TOKEN}")),
        "{seen:?}"
    );
    let status = GetNetworkRequest {
        sandbox_id: sandbox.id().to_owned(),
    };
    let mut networks = stage.host.clients().networks();
    let status = networks.get(status).await?.into_inner();
    let shown = status
        .secrets
        .last()
        .and_then(|secret| secret.processor.clone());
    ensure!(
        shown.and_then(|shown| shown.kind) == Some(Kind::Oauth2(grant.clone())),
        "{status:?}"
    );
    // Nothing else than the endpoint's own name is reached so.
    grant.token_url = "https://metadata.thaw.example/token".into();
    let put = PutSecretsRequest {
        sandbox_id: sandbox.id().to_owned(),
        secrets: vec![token(&grant)],
    };
    networks.put_secrets(put).await?;
    let answer = sandbox.says(ask).await?;
    ensure!(
        answer.contains("the token of the secret TOKEN cannot be had"),
        "{answer}"
    );
    ensure!(stage.world.requests()?.len() == 2);
    stage.end().await
}

/// The same for a host whose TLS is not opened: the sandbox does not know the authority of the small internet.
fn unopened(ask: &str) -> String {
    ask.replace("curl ", "curl -k ")
}

/// The key, as `thaw seal` makes it for this host.
async fn sealed(stage: &Stage, value: &str) -> Result<Secret> {
    let thaw = Thaw::new(&stage.host)?.with_variable("KEY", value);
    let output = thaw
        .output(&["seal", "API_KEY=KEY@api.thaw.example"])
        .await?;
    ensure!(output.code == Some(0), "{output:?}");
    Ok(Secret {
        material: Some(Material::Sealed(output.stdout)),
        ..key(value, &[])
    })
}

async fn policy_and_secrets_change_while_it_runs(_: Arc<Host>) -> Result {
    let stage = stage().await?;
    let sandbox = fresh(
        &stage,
        network(&[], vec![key(VALUE, &["api.thaw.example"])]),
    )
    .await?;
    ensure!(!well(&sandbox.shell(ASK).await?), "nothing is allowed");
    let mut networks = stage.host.clients().networks();
    let sandbox_id = sandbox.id().to_owned();
    let set = SetPolicyRequest {
        sandbox_id: sandbox_id.clone(),
        policy: Some(policy(&["api.thaw.example"])),
    };
    networks.set_policy(set).await?;
    sandbox.says(ASK).await?;
    let sent = |stage: &Stage| -> Result<String> {
        let requests = stage.world.requests()?;
        let seen = requests.last().context("no request")?;
        Ok(seen
            .headers
            .get("authorization")
            .cloned()
            .unwrap_or_default())
    };
    ensure!(sent(&stage)? == format!("Bearer {VALUE}"));
    let put = PutSecretsRequest {
        sandbox_id: sandbox_id.clone(),
        secrets: vec![key("another-value-entirely", &["api.thaw.example"])],
    };
    let status = networks.put_secrets(put).await?.into_inner();
    ensure!(status.secrets.len() == 1, "{status:?}");
    sandbox.says(ASK).await?;
    ensure!(sent(&stage)? == "Bearer another-value-entirely");
    let put = PutSecretsRequest {
        sandbox_id: sandbox_id.clone(),
        secrets: vec![sealed(&stage, "sealed-value-of-it").await?],
    };
    networks.put_secrets(put).await?;
    sandbox.says(ASK).await?;
    ensure!(sent(&stage)? == "Bearer sealed-value-of-it");
    let remove = RemoveSecretRequest {
        sandbox_id,
        name: "API_KEY".into(),
    };
    networks.remove_secret(remove.clone()).await?;
    sandbox.says(&unopened(ASK)).await?;
    ensure!(sent(&stage)?.contains(PLACEHOLDER));
    let again = networks.remove_secret(remove).await;
    expect(again, Code::NotFound, "SECRET_NOT_FOUND")?;
    stage.end().await
}

async fn a_restored_sandbox_has_what_its_creator_says(_: Arc<Host>) -> Result {
    let stage = stage().await?;
    let allow = ["api.thaw.example"];
    let parent = fresh(&stage, network(&allow, vec![key(VALUE, &allow)])).await?;
    // The placeholder is in the memory of a program that lives on.
    let placeholder = parent.says("echo $API_KEY | tee /tmp/key").await?;
    let snapshot = parent.snapshot().await?;
    parent.kill().await?;
    let ask = unopened(ASK).replace("$API_KEY", "$(cat /tmp/key)");
    let sent = async |sandbox: &Sandbox| -> Result<String> {
        sandbox.says(&ask).await?;
        let requests = stage.world.requests()?;
        let seen = requests.last().context("no request")?;
        let header = seen.headers.get("authorization").cloned();
        Ok(header
            .unwrap_or_default()
            .trim_start_matches("Bearer ")
            .to_owned())
    };
    let denied = restored(&stage, &snapshot.id, network(&allow, vec![])).await?;
    ensure!(sent(&denied).await? == placeholder);
    let inherited = Network {
        inheritance: SecretInheritance::Inherit.into(),
        ..network(&allow, vec![])
    };
    let inherited = restored(&stage, &snapshot.id, inherited).await?;
    ensure!(sent(&inherited).await? == VALUE);
    let rebound = network(&allow, vec![key("the-value-of-the-fork", &allow)]);
    let rebound = restored(&stage, &snapshot.id, rebound).await?;
    ensure!(sent(&rebound).await? == "the-value-of-the-fork");
    let mut options = network(&allow, vec![]);
    options.inheritance = SecretInheritance::Inherit.into();
    let unknown = restored(&stage, "default", options).await;
    ensure!(
        format!("{unknown:?}").contains("kept in memory alone"),
        "{unknown:?}"
    );
    stage.end().await
}

async fn a_sandbox_without_a_network_reaches_nothing(_: Arc<Host>) -> Result {
    let stage = stage().await?;
    let sandbox = stage.host.create().await?;
    for attempt in [
        "curl -m 4 http://api.thaw.example/",
        "curl -m 4 http://11.22.33.10/",
    ] {
        ensure!(!well(&sandbox.shell(attempt).await?), "{attempt}");
    }
    ensure!(stage.world.questions()?.is_empty());
    let set = SetPolicyRequest {
        sandbox_id: sandbox.id().to_owned(),
        policy: Some(policy(&["*"])),
    };
    let answer = stage.host.clients().networks().set_policy(set).await;
    expect(answer, Code::FailedPrecondition, "NETWORK_UNAVAILABLE")?;
    stage.end().await
}

async fn a_network_that_makes_no_sense_is_refused(host: Arc<Host>) -> Result {
    let create = async |network: Network| {
        let request = CreateSandboxRequest {
            source: Some(Source::Snapshot("default".into())),
            network: Some(network),
            ..Default::default()
        };
        let created = host.create_with(request).await;
        let Err(refusal) = created else {
            bail!("it was made");
        };
        ensure!(refusal.code() == Code::InvalidArgument, "{refusal:?}");
        Result::Ok(refusal.message().to_owned())
    };
    for allow in ["a b", "10.0.0.0/33", "*.*.example", "127.1"] {
        let message = create(network(&[allow], vec![])).await?;
        ensure!(message.contains(allow), "{message}");
    }
    for secret in [
        key("short", &["a.example"]),
        key(VALUE, &[]),
        key(VALUE, &["*"]),
        key("line\r\nbreak", &["a.example"]),
    ] {
        let message = create(network(&["a.example"], vec![secret])).await?;
        ensure!(
            message.contains("API_KEY") && !message.contains(VALUE),
            "{message}"
        );
    }
    Ok(())
}
