//! A snapshot with Deno, made as users make one: a sandbox, a program copied into it, and the sandbox saved.

use std::sync::Arc;

use anyhow::ensure;
use protocol::hostd::v1::CreateSnapshotRequest;
use tests::thaw::Thaw;
use tests::{Host, Result};

use crate::packages;

/// What the snapshot is called.
const NAME: &str = "deno";
/// Where npm has put the program.
const PROGRAM: &str = "node_modules/@deno/linux-x64-glibc/deno";

/// Makes it.
pub async fn snapshot(host: &Arc<Host>) -> Result {
    let sandbox = host.create().await?;
    let program = packages("javascript")?.join(PROGRAM);
    let to = format!("{}:/usr/local/bin/deno", sandbox.id());
    let from = program.display().to_string();
    let copied = Thaw::new(host)?.output(&["cp", &from, &to]).await?;
    ensure!(copied.code == Some(0), "{}", copied.stderr);
    // What it reads of itself is in memory then.
    let said = sandbox
        .says("chmod 755 /usr/local/bin/deno && cd /tmp && deno eval 'console.log(6 * 7)'")
        .await?;
    ensure!(said == "42", "{said}");
    let request = CreateSnapshotRequest {
        sandbox_id: sandbox.id().to_owned(),
        name: NAME.to_owned(),
        ..Default::default()
    };
    host.clients().snapshots().create(request).await?;
    sandbox.kill().await?;
    // The first restore takes longer than the SDKs wait where all is emulated.
    host.restore(NAME).await?.kill().await?;
    Ok(())
}
