//! What a restored guest keeps, and what it may not share with its twins.
#![allow(missing_docs)]

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use protocol::hostd::v1::DeleteSnapshotRequest;
use tests::process::python;
use tests::{Host, Result, Sandbox, suite};

suite!(
    a_counter_in_memory_goes_on,
    two_restores_go_different_ways_in_memory,
    a_running_program_draws_different_bytes_at_once,
    two_restores_go_different_ways_on_disk,
    a_snapshot_of_a_restored_sandbox_keeps_both_layers,
    the_saved_sandbox_goes_on,
    a_paused_sandbox_can_be_saved,
    random_bytes_differ_from_the_first_call,
    identity_differs,
    clocks_are_right,
    a_deleted_snapshot_leaves_its_clones_alone,
);

/// Counts in memory alone and says each number.
const COUNTER: &str = "
import itertools, time
for n in itertools.count():
    print(n, flush=True)
    time.sleep(0.02)
";

/// What the guest's clock may be off by.
const CLOCK_ERROR: Duration = Duration::from_millis(100);

async fn a_counter_in_memory_goes_on(host: Arc<Host>) -> Result {
    let original = host.create().await?;
    let pid = original.spawn(python(COUNTER)).await?.pid;
    let before = count_to(&original, pid, 5).await?.1;
    let snapshot = original.snapshot().await?;
    original.kill().await?;

    let restored = host.restore(&snapshot.id).await?;
    let (first, _) = count_to(&restored, pid, before + 10).await?;
    // What it counted between the last look and the snapshot is not known, but less than a minute's worth.
    ensure!(
        (before..before + 3000).contains(&first),
        "it went on at {first} after {before}"
    );
    Ok(())
}

/// Reads the counter until it is past `goal`, and checks that it never began anew. Returns the first and
/// the last number read.
async fn count_to(sandbox: &Sandbox, pid: u32, goal: u64) -> Result<(u64, u64)> {
    let mut counter = sandbox.attach(pid).await?;
    let mut text = String::new();
    loop {
        text.push_str(&counter.read_until("\n").await?);
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        // The first line may lack what an earlier reader had of it.
        let numbers = whole.lines().skip(1).map(str::parse);
        let numbers: Vec<u64> = numbers.collect::<Result<_, _>>()?;
        let in_order = numbers
            .windows(2)
            .all(|pair| matches!(pair, [a, b] if a + 1 == *b));
        ensure!(in_order, "not one after the other: {numbers:?}");
        match (numbers.first(), numbers.last()) {
            (Some(first), Some(last)) if *last > goal => return Ok((*first, *last)),
            _ => {}
        }
    }
}

/// Draws as fast as it can, and says what it drew together with the machine that it drew in.
const DRAWER: &str = "
import os, time, uuid
while True:
    # Random bytes first: were this process to run before the barrier, they would be the twin's.
    drawn = uuid.uuid4()
    print(os.uname().nodename, drawn, flush=True)
    time.sleep(0.001)
";

async fn a_running_program_draws_different_bytes_at_once(host: Arc<Host>) -> Result {
    let original = host.create().await?;
    let pid = original.spawn(python(DRAWER)).await?.pid;
    let snapshot = original.snapshot().await?;
    original.kill().await?;

    let mut drawn = Vec::new();
    for _ in 0..2 {
        let clone = host.restore(&snapshot.id).await?;
        let mut output = clone.attach(pid).await?;
        let name = clone.says("hostname").await?;
        let mut text = String::new();
        // What was printed before the snapshot is in both; the first draw after it may still carry the old
        // name, because a draw and its print are two steps.
        while text.matches(&format!("{name} ")).count() < 3 {
            text.push_str(&output.read_until("\n").await?);
        }
        let lines = text.lines().filter(|line| line.starts_with(&name));
        let values = lines.filter_map(|line| line.split(' ').nth(1).map(str::to_owned));
        drawn.push(values.collect::<Vec<_>>());
        clone.kill().await?;
    }
    let [first, second] = drawn.as_slice() else {
        anyhow::bail!("two clones");
    };
    ensure!(
        first.iter().all(|value| !second.contains(value)),
        "both drew from {first:?}"
    );
    Ok(())
}

async fn two_restores_go_different_ways_in_memory(host: Arc<Host>) -> Result {
    let (one, two) = tokio::try_join!(host.create(), host.create())?;
    one.says("mount -t tmpfs none /mnt && echo one > /mnt/who")
        .await?;
    two.says("mount -t tmpfs none /mnt && echo two > /mnt/who")
        .await?;
    ensure!(one.says("cat /mnt/who").await? == "one");
    ensure!(two.says("cat /mnt/who").await? == "two");
    Ok(())
}

async fn two_restores_go_different_ways_on_disk(host: Arc<Host>) -> Result {
    let (one, two) = tokio::try_join!(host.create(), host.create())?;
    let write = "for i in 1 2 3 4; do echo $0-$i > /root/file-$i; done; sync; echo 3 > /proc/sys/vm/drop_caches; cat /root/file-*";
    for (sandbox, name) in [(&one, "one"), (&two, "two")] {
        let text = sandbox.says(&write.replace("$0", name)).await?;
        ensure!(
            text.lines().eq((1..=4).map(|i| format!("{name}-{i}"))),
            "{text}"
        );
    }
    let three = host.create().await?;
    ensure!(three.says("ls /root/file-* 2>/dev/null | wc -l").await? == "0");
    Ok(())
}

async fn a_snapshot_of_a_restored_sandbox_keeps_both_layers(host: Arc<Host>) -> Result {
    let first = host.create().await?;
    first.says("echo first > /root/first").await?;
    let snapshot = first.snapshot().await?;
    let second = host.restore(&snapshot.id).await?;
    second.says("echo second > /root/second").await?;
    let snapshot = second.snapshot().await?;
    let third = host.restore(&snapshot.id).await?;
    third.says("echo 3 > /proc/sys/vm/drop_caches").await?;
    ensure!(third.says("cat /root/first /root/second").await? == "first\nsecond");
    ensure!(first.says("ls /root/second 2>/dev/null | wc -l").await? == "0");
    Ok(())
}

async fn the_saved_sandbox_goes_on(host: Arc<Host>) -> Result {
    let sandbox = host.create().await?;
    let pid = sandbox.spawn(python(COUNTER)).await?.pid;
    let epoch = sandbox.get().await?.epoch;
    let before = count_to(&sandbox, pid, 0).await?.1;
    sandbox.snapshot().await?;
    count_to(&sandbox, pid, before + 10).await?;
    ensure!(sandbox.get().await?.epoch == epoch, "a save is no restore");
    Ok(())
}

async fn a_paused_sandbox_can_be_saved(host: Arc<Host>) -> Result {
    let sandbox = host.create().await?;
    sandbox.says("echo saved > /root/state").await?;
    sandbox.pause().await?;
    let snapshot = sandbox.snapshot().await?;
    let restored = host.restore(&snapshot.id).await?;
    ensure!(restored.says("cat /root/state").await? == "saved");
    sandbox.resume().await?;
    ensure!(sandbox.says("cat /root/state").await? == "saved");
    Ok(())
}

async fn random_bytes_differ_from_the_first_call(host: Arc<Host>) -> Result {
    let (one, two) = tokio::try_join!(host.create(), host.create())?;
    let bytes = "head -c 16 /dev/urandom | od -An -tx1";
    let (first, second) = tokio::try_join!(one.says(bytes), two.says(bytes))?;
    ensure!(first != second, "/dev/urandom gave {first} to both");

    let (one, two) = tokio::try_join!(host.create(), host.create())?;
    let uuid = "python3 -c 'import uuid; print(uuid.uuid4())'";
    let (first, second) = tokio::try_join!(one.says(uuid), two.says(uuid))?;
    ensure!(first != second, "uuid4() gave {first} to both");
    Ok(())
}

async fn identity_differs(host: Arc<Host>) -> Result {
    let (one, two) = tokio::try_join!(host.create(), host.create())?;
    ensure!(one.info().epoch != two.info().epoch && !one.info().epoch.is_empty());
    for what in [
        "hostname",
        "cat /etc/machine-id",
        "cat /proc/sys/kernel/hostname",
    ] {
        let (first, second) = tokio::try_join!(one.says(what), two.says(what))?;
        ensure!(
            first != second && !first.is_empty(),
            "{what} gave {first:?} to both"
        );
    }
    Ok(())
}

async fn clocks_are_right(host: Arc<Host>) -> Result {
    let (one, two) = tokio::try_join!(host.create(), host.create())?;
    for sandbox in [one, two] {
        let before = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let guest: f64 = sandbox.says("date +%s.%N").await?.parse()?;
        let after = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let range = (before - CLOCK_ERROR).as_secs_f64()..=(after + CLOCK_ERROR).as_secs_f64();
        ensure!(range.contains(&guest), "{guest} is not in {range:?}");
    }
    Ok(())
}

async fn a_deleted_snapshot_leaves_its_clones_alone(host: Arc<Host>) -> Result {
    let original = host.create().await?;
    original.says("echo kept > /root/kept").await?;
    let snapshot = original.snapshot().await?;
    let clone = host.restore(&snapshot.id).await?;
    let request = DeleteSnapshotRequest {
        snapshot: snapshot.id.clone(),
    };
    host.clients()
        .snapshots()
        .delete(request)
        .await
        .context("deleting")?;
    clone.says("echo 3 > /proc/sys/vm/drop_caches").await?;
    ensure!(clone.says("cat /root/kept").await? == "kept");
    ensure!(
        host.restore(&snapshot.id).await.is_err(),
        "restored what was deleted"
    );
    Ok(())
}
