//! Snapshots that are damaged, cut off, or made for another CPU: typed errors, at once.
#![allow(missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use protocol::hostd::v1::CreateSandboxRequest;
use serde_json::{Value, json};
use tests::host::HostOptions;
use tests::products::Products;
use tests::refusal::expect;
use tests::variants::snapshot::Copy;
use tests::{Host, Result, suite};
use tokio::sync::OnceCell;
use tonic::{Code, Status};

suite!(
    an_honest_copy_restores,
    files_cut_off_anywhere,
    one_flipped_bit_anywhere,
    missing_files,
    features_that_this_cpu_lacks,
    another_version,
    impossible_machines,
);

/// A refusal is not waited for: whoever takes longer hangs.
const AT_ONCE: Duration = Duration::from_secs(60);
/// As little memory as a guest can do with, so that copies are small.
const MEMORY: u64 = 128 << 20;
/// Places at which each file is cut or bitten.
const PLACES: u64 = 6;

/// A copy of a small snapshot, taken once for all tests.
async fn copy(host: &Arc<Host>) -> Result<Copy> {
    static ID: OnceCell<String> = OnceCell::const_new();
    let id = ID.get_or_try_init(async || {
        let request = CreateSandboxRequest {
            memory_bytes: MEMORY,
            ..Host::cold_boot()
        };
        let sandbox = host.create_with(request).await?;
        sandbox.says("echo content > /root/file; sync").await?;
        anyhow::Ok(sandbox.snapshot().await?.id)
    });
    Copy::of(&host.state().join("snapshots"), id.await?)
}

/// What a fresh hostd that has never seen this snapshot answers when it is restored.
async fn refusal(copy: &Copy) -> Result<Option<Status>> {
    let mut options = HostOptions::new(Products::find()?)?;
    options.snapshots.push(copy.store().to_owned());
    let host = Host::start(options).await?;
    let restore = tokio::time::timeout(AT_ONCE, host.restore(copy.id()));
    let answer = restore.await.context("hostd hangs")?;
    host.stop().await?;
    match answer {
        Ok(_) => Ok(None),
        Err(error) => Ok(Some(error.downcast()?)),
    }
}

async fn is_damaged(copy: &Copy, what: &str) -> Result {
    let status = refusal(copy)
        .await?
        .with_context(|| format!("{what}: it was restored"))?;
    let info = expect::<()>(Err(status), Code::DataLoss, "SNAPSHOT_DAMAGED");
    let info = info.with_context(|| what.to_owned())?;
    ensure!(info.metadata.contains_key("part"), "{what}: {info:?}");
    Ok(())
}

/// The files of a snapshot that a restore reads.
fn files(copy: &Copy) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(copy.file(""))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Places spread over a file, its first and last byte among them.
fn places(len: u64) -> impl Iterator<Item = u64> {
    let last = len.saturating_sub(1);
    (0..PLACES)
        .map(move |n| last * n / (PLACES - 1))
        .filter(move |_| len > 0)
}

async fn an_honest_copy_restores(host: Arc<Host>) -> Result {
    let copy = copy(&host).await?;
    copy.rewrite_is_sound()?;
    match refusal(&copy).await? {
        None => Ok(()),
        Some(status) => Err(status.into()),
    }
}

async fn files_cut_off_anywhere(host: Arc<Host>) -> Result {
    for name in files(&copy(&host).await?)? {
        let len = copy(&host).await?.len(&name)?;
        for place in places(len) {
            let copy = copy(&host).await?;
            copy.truncate(&name, place)?;
            is_damaged(&copy, &format!("{name} cut at {place} of {len}")).await?;
        }
    }
    Ok(())
}

async fn one_flipped_bit_anywhere(host: Arc<Host>) -> Result {
    let copy = copy(&host).await?;
    for name in files(&copy)? {
        // A disk's data is too large to be read before it is used; the bitmap is not.
        if name.ends_with(".layer") {
            continue;
        }
        let len = copy.len(&name)?;
        for place in places(len) {
            copy.flip(&name, place)?;
            is_damaged(&copy, &format!("{name} bitten at {place} of {len}")).await?;
            copy.flip(&name, place)?;
        }
    }
    Ok(())
}

async fn missing_files(host: Arc<Host>) -> Result {
    for name in files(&copy(&host).await?)? {
        let copy = copy(&host).await?;
        std::fs::remove_file(copy.file(&name))?;
        if name != "manifest.json" {
            is_damaged(&copy, &format!("without {name}")).await?;
            continue;
        }
        let status = refusal(&copy)
            .await?
            .context("restored without a manifest")?;
        ensure!(
            matches!(status.code(), Code::NotFound | Code::DataLoss),
            "{status:?}"
        );
    }
    Ok(())
}

async fn features_that_this_cpu_lacks(host: Arc<Host>) -> Result {
    let copy = copy(&host).await?;
    copy.rewrite_manifest(|manifest| {
        if let Some(Value::Array(features)) = manifest.pointer_mut("/description/cpu/features") {
            // Sorted last, whatever names are like.
            features.push(json!("~no-such-feature"));
        }
    })?;
    let status = refusal(&copy).await?.context("it was restored")?;
    let reason = "SNAPSHOT_INCOMPATIBLE";
    let info = expect::<()>(Err(status.clone()), Code::FailedPrecondition, reason)?;
    let told = status.message().contains("~no-such-feature")
        || info
            .metadata
            .values()
            .any(|value| value.contains("~no-such-feature"));
    ensure!(told, "which one? {status:?}");
    Ok(())
}

async fn another_version(host: Arc<Host>) -> Result {
    let copy = copy(&host).await?;
    copy.rewrite_manifest(|manifest| manifest["format_version"] = json!(3))?;
    let status = refusal(&copy).await?.context("it was restored")?;
    ensure!(
        matches!(status.code(), Code::DataLoss | Code::FailedPrecondition),
        "{status:?}"
    );
    ensure!(status.message().contains('3'), "{status:?}");
    Ok(())
}

async fn impossible_machines(host: Arc<Host>) -> Result {
    for (pointer, value) in [
        ("/description/machine/vcpus", json!(0)),
        ("/description/machine/vcpus", json!(2)),
        ("/description/machine/vcpus", json!(4_000_000)),
        ("/description/machine/memory_bytes", json!(1_u64 << 60)),
        ("/description/machine/memory_bytes", json!(MEMORY * 2)),
        ("/description/machine/disks", json!([])),
        ("/description/machine/network", json!(false)),
    ] {
        let copy = copy(&host).await?;
        copy.rewrite_manifest(|manifest| {
            if let Some(field) = manifest.pointer_mut(pointer) {
                *field = value.clone();
            }
        })?;
        is_damaged(&copy, &format!("{pointer} = {value}")).await?;
    }
    Ok(())
}
