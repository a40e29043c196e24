//! The only way out: what sandboxes reach, and what becomes of their secrets.
#![allow(missing_docs)]

use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use protocol::hostd::v1::create_sandbox_request::Source;
use protocol::hostd::v1::secret::Material;
use protocol::hostd::v1::{
    CreateSandboxRequest, GetNetworkRequest, Network, NetworkPolicy, PutSecretsRequest,
    RemoveSecretRequest, Secret, SecretInheritance, SecretSurface, SetPolicyRequest,
    WatchNetworkRequest,
};
use protocol::types::v1::exit_status::Status as Ended;
use tests::host::HostOptions;
use tests::process::Output;
use tests::products::Products;
use tests::refusal::expect;
use tests::world::World;
use tests::{Host, Result, Sandbox, suite};
use tonic::Code;

suite!(
    secrets_go_out_and_come_back_as_placeholders,
    what_is_not_allowed_is_not_reached,
    policy_and_secrets_change_while_it_runs,
    a_restored_sandbox_has_what_its_creator_says,
    a_sandbox_without_a_network_reaches_nothing,
    a_network_that_makes_no_sense_is_refused,
);

const VALUE: &str = "sk-live-51a9c3e7f0b24d68";
const PLACEHOLDER: &str = "DENO_SECRET_PLACEHOLDER_";

/// A small internet, and a hostd that knows it.
struct Stage {
    world: World,
    host: Arc<Host>,
}

impl Stage {
    async fn new() -> Result<Self> {
        let world = World::start().await?;
        let mut options = HostOptions::with_default_snapshot(Products::find()?)?;
        options.extra.extend(world.hostd_options());
        options.extra.extend(["--network".into(), "on".into()]);
        let host = Host::start(options).await?;
        Ok(Self { world, host })
    }

    async fn sandbox(&self, network: Network) -> Result<Sandbox> {
        self.restored("default", network).await
    }

    async fn restored(&self, snapshot: &str, network: Network) -> Result<Sandbox> {
        let request = CreateSandboxRequest {
            source: Some(Source::Snapshot(snapshot.to_owned())),
            network: Some(network),
            ..Default::default()
        };
        Ok(self.host.create_with(request).await?)
    }

    /// Ends the host, which checks that nothing is left.
    async fn end(self) -> Result {
        self.host.stop().await
    }
}

fn network(allow: &[&str], secrets: Vec<Secret>) -> Network {
    Network {
        policy: Some(policy(allow)),
        secrets,
        ..Default::default()
    }
}

fn policy(allow: &[&str]) -> NetworkPolicy {
    NetworkPolicy {
        allow: allow.iter().map(ToString::to_string).collect(),
        ..Default::default()
    }
}

fn key(value: &str, hosts: &[&str]) -> Secret {
    Secret {
        name: "API_KEY".into(),
        material: Some(Material::Value(value.as_bytes().to_vec())),
        hosts: hosts.iter().map(ToString::to_string).collect(),
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
    let stage = Stage::new().await?;
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
    let sandbox = stage
        .sandbox(network(
            &["api.thaw.example", "other.thaw.example"],
            vec![secret],
        ))
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

/// The same for a host whose TLS is not opened: the sandbox does not know the authority of the small internet.
fn unopened(ask: &str) -> String {
    ask.replace("curl ", "curl -k ")
}

/// What a program may try, and how it has to end: each line is a command that has to fail.
const ATTEMPTS: &[&str] = &[
    // Names that are not allowed, in all spellings.
    "curl -m 20 -f https://other.thaw.example/",
    "curl -m 20 -f http://other.thaw.example/",
    "curl -m 20 -f https://OTHER.thaw.example./",
    "curl -m 20 -f https://thaw.example/",
    "curl -m 20 -f https://x.api.thaw.example/",
    // An allowed address with another name.
    "curl -m 20 -f -k --resolve other.thaw.example:443:11.22.33.10 https://other.thaw.example/",
    "curl -m 20 -f -k --connect-to ::api.thaw.example:443 https://other.thaw.example/",
    "curl -m 20 -f -H 'host: other.thaw.example' http://api.thaw.example/",
    "curl -m 20 -f -k -H 'host: other.thaw.example' https://api.thaw.example/",
    // Bare addresses, and the ways to write them.
    "curl -m 20 -f -k https://11.22.33.10/",
    "curl -m 20 -f http://11.22.33.10/",
    "curl -m 20 -f http://0x0b16210a/",
    "curl -m 20 -f http://169.254.169.254/latest/meta-data/",
    "curl -m 20 -f http://metadata.thaw.example/",
    "curl -m 20 -f http://127.0.0.1/",
    // The gateway, the host behind it, and other sandboxes.
    "curl -m 20 -f http://192.0.2.1/",
    "curl -m 20 -f http://192.0.2.1:7070/",
    "curl -m 20 -f http://11.22.33.1:22/",
    "curl -m 20 -f http://10.0.2.2/",
    "curl -m 20 -f http://host.thaw.example/",
    // Names that are allowed and stand for what is not.
    "curl -m 20 -f http://rebind.thaw.example/",
    "curl -m 20 -f http://private.thaw.example/",
    // Proxies inside.
    "curl -m 20 -f -x http://api.thaw.example:80 http://other.thaw.example/",
    "curl -m 20 -f -p -x http://api.thaw.example:80 https://other.thaw.example/",
    "curl -m 20 -f --request-target http://other.thaw.example/ http://api.thaw.example/",
    // Other protocols.
    "timeout 5 bash -c 'exec 3<>/dev/tcp/11.22.33.11/25; read -t 4 line <&3'",
    "python3 -c 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(3); \
        s.sendto(b\"x\", (\"11.22.33.10\", 443)); s.recv(9)'",
    "python3 -c 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); s.settimeout(3); \
        s.sendto(b\"\\x08\\0\\xf7\\xff\\0\\0\\0\\0\", (\"11.22.33.10\", 0)); s.recv(99)'",
    "python3 -c 'import socket; s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM); s.settimeout(3); \
        s.connect((\"2001:db8::1\", 443))'",
    // What answers names answers no others, by no way.
    "getent hosts evil-data.example",
    "python3 -c 'import socket; print(socket.gethostbyname(\"data.other.thaw.example\"))'",
];

async fn what_is_not_allowed_is_not_reached(_: Arc<Host>) -> Result {
    let stage = Stage::new().await?;
    let allow = [
        "api.thaw.example",
        "rebind.thaw.example",
        "private.thaw.example",
    ];
    let sandbox = stage
        .sandbox(network(&allow, vec![key(VALUE, &["api.thaw.example"])]))
        .await?;
    // So that the failures below mean something.
    sandbox.says(ASK).await?;
    let before = stage.world.requests()?.len();
    for attempt in ATTEMPTS {
        let output = sandbox.shell(attempt).await?;
        ensure!(!well(&output), "`{attempt}` went through: {output:?}");
    }
    let reached = stage.world.requests()?;
    ensure!(reached.len() == before, "{:?}", reached.get(before..));
    let asked = stage.world.questions()?;
    let allowed = |name: &String| {
        allow
            .iter()
            .any(|one| name.trim_end_matches('.').eq_ignore_ascii_case(one))
    };
    ensure!(asked.iter().all(allowed), "{asked:?}");
    // And it still works.
    let answer = sandbox.says(ASK).await?;
    ensure!(!answer.contains(VALUE), "{answer}");
    let request = GetNetworkRequest {
        sandbox_id: sandbox.id().to_owned(),
    };
    let status = stage.host.clients().networks().get(request).await?;
    let counts = status.into_inner().counts.context("no counts")?;
    ensure!(
        counts.refused > 0 && counts.dropped_packets > 0,
        "{counts:?}"
    );
    stage.end().await
}

async fn policy_and_secrets_change_while_it_runs(_: Arc<Host>) -> Result {
    let stage = Stage::new().await?;
    let sandbox = stage
        .sandbox(network(&[], vec![key(VALUE, &["api.thaw.example"])]))
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
    let stage = Stage::new().await?;
    let allow = ["api.thaw.example"];
    let parent = stage
        .sandbox(network(&allow, vec![key(VALUE, &allow)]))
        .await?;
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
    let denied = stage
        .restored(&snapshot.id, network(&allow, vec![]))
        .await?;
    ensure!(sent(&denied).await? == placeholder);
    let inherited = Network {
        inheritance: SecretInheritance::Inherit.into(),
        ..network(&allow, vec![])
    };
    let inherited = stage.restored(&snapshot.id, inherited).await?;
    ensure!(sent(&inherited).await? == VALUE);
    let rebound = network(&allow, vec![key("the-value-of-the-fork", &allow)]);
    let rebound = stage.restored(&snapshot.id, rebound).await?;
    ensure!(sent(&rebound).await? == "the-value-of-the-fork");
    let mut options = network(&allow, vec![]);
    options.inheritance = SecretInheritance::Inherit.into();
    let unknown = stage.restored("default", options).await;
    ensure!(
        format!("{unknown:?}").contains("kept in memory alone"),
        "{unknown:?}"
    );
    stage.end().await
}

async fn a_sandbox_without_a_network_reaches_nothing(_: Arc<Host>) -> Result {
    let stage = Stage::new().await?;
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
