//! The ways around the proxy: each is tried, none leads anywhere, and the neighbours do not notice.
//!
//! `BYPASS.md` is the table of it. A change of what is tried or expected changes the table: this test prints it as it
//! has to be when it is not.
#![allow(missing_docs)]

use std::sync::Arc;

use anyhow::{Context, ensure};
use protocol::hostd::v1::create_sandbox_request::Source;
use protocol::hostd::v1::{GetNetworkRequest, Network, NetworkCounts, Secret, SecretSurface};
use protocol::types::v1::ProcessSpec;
use tests::bypass::{self, Row};
use tests::host::HostOptions;
use tests::process::python;
use tests::products::Products;
use tests::stage::{Stage, key, network};
use tests::{Host, Result, Sandbox, suite};

suite!(no_way_leads_around_the_proxy);

const DOCUMENT: &str = include_str!("../BYPASS.md");
const VALUES: [&str; 4] = [
    "sk-live-51a9c3e7f0b24d68",
    "narrow-7d0e4b1c9a8f",
    "body-2f6b8c0d1e3a",
    "foreign-9c8b7a6d5e4f",
];
/// Names below the allowed `*.wild.example` that the name server may be asked for in the time that 2,000 are sent.
const TUNNELLED: usize = 600;

fn secret(name: &str, value: &str, surface: SecretSurface) -> Secret {
    Secret {
        name: name.into(),
        surface: Some(surface),
        ..key(value, &["api.thaw.example"])
    }
}

/// The network of the sandbox that attacks.
fn attackers() -> Network {
    let narrow = SecretSurface {
        methods: vec!["GET".into()],
        path_prefixes: vec!["/v1/".into()],
        headers: vec!["x-api-key".into()],
        max_uses: 1,
        ..Default::default()
    };
    let body = SecretSurface {
        no_headers: true,
        body: true,
        ..Default::default()
    };
    let secrets = vec![
        key(VALUES[0], &["api.thaw.example"]),
        secret("NARROW_KEY", VALUES[1], narrow),
        secret("BODY_KEY", VALUES[2], body),
    ];
    let allow = [
        "api.thaw.example",
        "*.wild.example",
        "mail.thaw.example:80",
        "rebind.thaw.example",
        "private.thaw.example",
        "metadata.thaw.example",
        "host.thaw.example",
    ];
    network(&allow, secrets)
}

async fn no_way_leads_around_the_proxy(_: Arc<Host>) -> Result {
    let options = HostOptions::with_default_snapshot(Products::find()?)?;
    let stage = Stage::start(options).await?;
    let source = || Source::Snapshot("default".into());
    let attacker = stage.sandbox(source(), attackers()).await?;
    let foreign = Secret {
        name: "FOREIGN_KEY".into(),
        ..key(VALUES[3], &["api.thaw.example"])
    };
    let others = network(&["api.thaw.example"], vec![foreign]);
    let neighbour = stage.sandbox(source(), others).await?;
    let foreign = neighbour.says("echo $FOREIGN_KEY").await?;

    let mut rows = attempts(&attacker, bypass::ATTEMPTS, &foreign).await?;
    let work = ProcessSpec {
        stdin: true,
        ..python(bypass::NEIGHBOUR)
    };
    let mut working = neighbour.start(work).await?;
    working.read_until("\n").await?;
    rows.extend(attempts(&attacker, bypass::FLOODS, &foreign).await?);
    working.close_stdin().await?;
    neighbours_work(&working.output().await?.text()?)?;

    let seen = stage.world.requests()?;
    let leaks: Vec<_> = bypass::leaks(&seen, &VALUES).collect();
    ensure!(leaks.is_empty(), "got out: {leaks:#?}");
    names_stay_inside(&stage.world.questions()?)?;
    let counts = counts(&stage, &attacker).await?;
    ensure!(
        counts.connections > 2_000 && counts.limited > 0 && counts.refused > 0,
        "{counts:?}"
    );
    ensure!(counts.dropped_packets > 0, "{counts:?}");
    // It did what it had to do: the value went where it may, and came back as a placeholder.
    ensure!(
        seen.iter()
            .any(|seen| format!("{seen:?}").contains(VALUES[0])),
        "no request had its secret"
    );
    check_table(&rows)?;
    stage.end().await
}

async fn attempts(sandbox: &Sandbox, parts: &[&str], foreign: &str) -> Result<Vec<Row>> {
    let spec = ProcessSpec {
        env: [("FOREIGN_KEY".to_owned(), foreign.to_owned())].into(),
        ..bypass::program(parts)
    };
    let output = sandbox.start(spec).await?.output().await?;
    bypass::rows(&output.text()?)
}

/// Every request of the neighbour's was answered. How fast is shown, and not tested.
fn neighbours_work(output: &str) -> Result {
    let times: Result<Vec<f64>, _> = output.lines().map(str::parse).collect();
    let mut times = times.with_context(|| format!("the neighbour's requests: {output}"))?;
    times.sort_by(f64::total_cmp);
    let middle = times.get(times.len() / 2).context("it made no request")?;
    let last = times.last().context("it made no request")?;
    println!(
        "a neighbour's {} requests: median {middle:.2} s, longest {last:.2} s",
        times.len()
    );
    Ok(())
}

/// The name server was asked for allowed names only, and not for as many as carry data.
fn names_stay_inside(asked: &[String]) -> Result {
    let allowed = attackers().policy.context("no policy")?.allow;
    let allowed = |name: &&String| {
        name.ends_with(".wild.example")
            || allowed
                .iter()
                .any(|one| one.split(':').next() == Some(name.as_str()))
    };
    let evil: Vec<_> = asked.iter().filter(|name| !allowed(name)).collect();
    ensure!(evil.is_empty(), "names that got out: {evil:?}");
    let tunnelled = asked.iter().filter(|name| name.contains(".tunnel."));
    let tunnelled = tunnelled.count();
    println!("{tunnelled} of 2,000 names got through a tunnel below an allowed `*.host`");
    ensure!(tunnelled < TUNNELLED, "{tunnelled} names got through");
    Ok(())
}

async fn counts(stage: &Stage, sandbox: &Sandbox) -> Result<NetworkCounts> {
    let request = GetNetworkRequest {
        sandbox_id: sandbox.id().to_owned(),
    };
    let status = stage.host.clients().networks().get(request).await?;
    status.into_inner().counts.context("no counts")
}

fn check_table(rows: &[Row]) -> Result {
    let unexpected = bypass::unexpected(rows);
    ensure!(unexpected.is_empty(), "{unexpected:#?}");
    println!("{} attempts came to what was expected", rows.len());
    let table = bypass::markdown(rows);
    ensure!(
        bypass::expects_the_same(DOCUMENT, &table),
        "tests/BYPASS.md is not this any more:\n{table}"
    );
    Ok(())
}
