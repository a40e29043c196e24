//! The machine that a guest sees.
#![allow(missing_docs)]

use std::sync::Arc;

use anyhow::{Context, ensure};
use protocol::hostd::v1::CreateSandboxRequest;
use protocol::hostd::v1::create_sandbox_request::Source;
use tests::host::HostOptions;
use tests::products::Products;
use tests::variants::image;
use tests::{Host, Result, Sandbox, suite};

suite!(
    two_processors_are_both_used,
    memory_is_as_asked_for,
    a_compressed_kernel_boots,
    a_restored_machine_keeps_its_shape,
    the_disk_is_writable_and_synced,
    the_own_memory_of_a_vmm_is_small,
);

/// What a vmm may have beside guest memory, in bytes.
const VMM_MEMORY: u64 = 5 << 20;

async fn two_processors_are_both_used(host: Arc<Host>) -> Result {
    let request = CreateSandboxRequest {
        vcpus: 2,
        ..Host::cold_boot()
    };
    let sandbox = host.create_with(request).await?;
    ensure!(sandbox.says("nproc").await? == "2");
    let before = busy_ticks(&sandbox).await?;
    sandbox
        .says("for i in 1 2; do timeout 4 sh -c 'while :; do :; done' & done; wait")
        .await?;
    let after = busy_ticks(&sandbox).await?;
    // A hundred ticks a second: each of the two was busy for at least a quarter of the time.
    let used: Vec<u64> = after
        .iter()
        .zip(&before)
        .map(|(after, before)| after - before)
        .collect();
    ensure!(
        used.len() == 2 && used.iter().all(|ticks| *ticks >= 100),
        "{used:?}"
    );
    Ok(())
}

/// Ticks of user time for each processor.
async fn busy_ticks(sandbox: &Sandbox) -> Result<Vec<u64>> {
    let stat = sandbox.says("grep '^cpu[0-9]' /proc/stat").await?;
    let user = stat
        .lines()
        .map(|line| line.split_whitespace().nth(1).context("no user time"));
    user.map(|ticks| Ok(ticks?.parse()?)).collect()
}

async fn memory_is_as_asked_for(host: Arc<Host>) -> Result {
    for mib in [128, 768] {
        let request = CreateSandboxRequest {
            memory_bytes: mib << 20,
            ..Host::cold_boot()
        };
        let sandbox = host.create_with(request).await?;
        ensure!(sandbox.info().memory_bytes == mib << 20);
        let kib: u64 = sandbox
            .says("awk '/MemTotal/ { print $2 }' /proc/meminfo")
            .await?
            .parse()?;
        // The kernel keeps some of it for itself.
        ensure!(
            (mib / 2..=mib).contains(&(kib >> 10)),
            "{kib} KiB of {mib} MiB"
        );
        sandbox.kill().await?;
    }
    Ok(())
}

async fn a_compressed_kernel_boots(_: Arc<Host>) -> Result {
    let products = Products::find()?;
    let images = tempfile::tempdir()?;
    image::with_bzimage(&products.images.join("default"), images.path())?;
    let mut options = HostOptions::new(products)?;
    options.images.push(images.path().to_owned());
    let host = Host::start(options).await?;
    let request = CreateSandboxRequest {
        source: Some(Source::Image(image::NAME.to_owned())),
        ..Default::default()
    };
    let sandbox = host.create_with(request).await?;
    ensure!(sandbox.says("echo up").await? == "up");
    host.stop().await
}

async fn a_restored_machine_keeps_its_shape(host: Arc<Host>) -> Result {
    let request = CreateSandboxRequest {
        vcpus: 2,
        memory_bytes: 256 << 20,
        ..Host::cold_boot()
    };
    let original = host.create_with(request).await?;
    let snapshot = original.snapshot().await?;
    ensure!(
        snapshot.vcpus == 2 && snapshot.memory_bytes == 256 << 20,
        "{snapshot:?}"
    );
    original.kill().await?;
    let restored = host.restore(&snapshot.id).await?;
    ensure!(restored.info().vcpus == 2 && restored.info().snapshot_id == snapshot.id);
    ensure!(restored.says("nproc").await? == "2");
    restored
        .says("for i in 1 2; do timeout 1 sh -c 'while :; do :; done' & done; wait")
        .await?;
    Ok(())
}

async fn the_disk_is_writable_and_synced(host: Arc<Host>) -> Result {
    let sandbox = host.create().await?;
    let line = "head -c 50000000 /dev/urandom > /root/r && sha256sum < /root/r && sync && echo 3 > /proc/sys/vm/drop_caches && sha256sum < /root/r";
    let text = sandbox.says(line).await?;
    let mut sums = text.lines();
    ensure!(sums.next() == sums.next(), "{text}");
    Ok(())
}

async fn the_own_memory_of_a_vmm_is_small(host: Arc<Host>) -> Result {
    let sandbox = host.create().await?;
    sandbox.says("true").await?;
    let stats = sandbox.stats().await?;
    ensure!(stats.vmm_pss_bytes < VMM_MEMORY, "{stats:?}");
    ensure!(
        stats.vm_exits > 0 && stats.guest_private_bytes > 0,
        "{stats:?}"
    );
    Ok(())
}
