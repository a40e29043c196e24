//! The official Deno Sandbox SDKs for Python and JavaScript, unmodified, against the hostd that `cargo xtask up` starts.
//!
//! This program runs beside the SDKs, outside of the host, and knows that hostd by its addresses alone: see [`up`].
#![allow(missing_docs)]

mod coverage;
mod deno;
mod script;
mod up;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use tests::suite::Subject;
use tests::{Result, suite};
use tokio::process::Child;

use crate::script::script;
use crate::up::Up;

suite!(
    host: Up::find,
    the_snippets_of_the_announcement,
    files,
    programs,
    sessions,
    what_is_exposed,
    by_ssh,
    tokens_and_nonsense,
    denos_programs,
    abrupt_ends,
    snapshots,
    every_call_is_covered,
);

async fn the_snippets_of_the_announcement(up: Arc<Up>) -> Result {
    up.run(&[
        script!("python", "announced.py"),
        script!("javascript", "announced.mjs"),
    ])
    .await?;
    up.becomes(0).await
}

async fn files(up: Arc<Up>) -> Result {
    up.run(&[
        script!("python", "files.py"),
        script!("javascript", "files.mjs"),
    ])
    .await
}

async fn programs(up: Arc<Up>) -> Result {
    up.run(&[
        script!("python", "programs.py"),
        script!("javascript", "programs.mjs"),
    ])
    .await
}

async fn sessions(up: Arc<Up>) -> Result {
    up.run(&[
        script!("python", "sessions.py"),
        script!("javascript", "sessions.mjs"),
    ])
    .await?;
    up.becomes(0).await?;
    // A client that is killed takes its session with it, and nothing else.
    let mut client = up.client_of_two().await?;
    client.kill().await?;
    up.becomes(1).await?;
    up.clear().await?;
    // One that stops without a word is missed.
    let mut client = up.client_of_two().await?;
    signal(&client, nix::sys::signal::Signal::SIGSTOP)?;
    up.becomes_within(Duration::from_secs(90), 1).await?;
    client.kill().await?;
    up.clear().await
}

fn signal(child: &Child, signal: nix::sys::signal::Signal) -> Result {
    let pid = child.id().context("it has ended")?;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), signal)?;
    Ok(())
}

async fn what_is_exposed(up: Arc<Up>) -> Result {
    up.run(&[
        script!("python", "exposed.py"),
        script!("javascript", "exposed.mjs"),
    ])
    .await?;
    up.becomes(0).await
}

async fn by_ssh(up: Arc<Up>) -> Result {
    up.run(&[script!("python", "ssh.py")]).await?;
    up.becomes(0).await
}

async fn tokens_and_nonsense(up: Arc<Up>) -> Result {
    let mut refused = script!("python", "refused.py").command(&up)?;
    refused.env("DENO_DEPLOY_TOKEN", "ddo_another-token-entirely");
    let output = refused.output().await?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    up.run(&[
        script!("python", "tokens.py"),
        script!("python", "nonsense.py"),
    ])
    .await?;
    up.run(&[
        script!("python", "hosting.py"),
        script!("javascript", "hosting.mjs"),
    ])
    .await?;
    up.becomes(0).await
}

async fn denos_programs(up: Arc<Up>) -> Result {
    up.run(&[
        script!("python", "deno.py"),
        script!("python", "sockets.py"),
        script!("javascript", "deno.mjs"),
    ])
    .await?;
    up.becomes(0).await
}

async fn abrupt_ends(up: Arc<Up>) -> Result {
    up.run(&[script!("python", "abrupt.py")]).await?;
    up.becomes(0).await
}

/// The last that need the snapshot with Deno: it is deleted here.
async fn snapshots(up: Arc<Up>) -> Result {
    up.run(&[
        script!("python", "snapshots.py"),
        script!("javascript", "snapshots.mjs"),
    ])
    .await
}

/// After the others: it is about what they called.
async fn every_call_is_covered(_: Arc<Up>) -> Result {
    coverage::check()
}
