//! A snapshot with Deno, made as users make one: a sandbox, a program copied into it, and the sandbox saved.

use anyhow::ensure;
use tests::Result;
use tests::thaw::Thaw;

use crate::script::packages;

/// What the snapshot is called.
const NAME: &str = "deno";
/// Where npm has put the program, and where it is in the sandbox.
const PROGRAM: &str = "node_modules/@deno/linux-x64-glibc/deno";
const PLACE: &str = "/usr/local/bin/deno";

/// Makes it.
pub async fn snapshot(thaw: &Thaw) -> Result {
    let sandbox = thaw.says(&["create"]).await?;
    let program = packages("javascript")?.join(PROGRAM).display().to_string();
    let to = format!("{sandbox}:{PLACE}");
    thaw.says(&["cp", &program, &to]).await?;
    // What it reads of itself is in memory then.
    let line = format!("chmod 755 {PLACE} && cd /tmp && deno eval 'console.log(6 * 7)'");
    let said = thaw.says(&["exec", &sandbox, "sh", "-c", &line]).await?;
    ensure!(said == "42", "{said}");
    thaw.says(&["snapshot", "create", &sandbox, "--name", NAME])
        .await?;
    // The first restore takes longer than the SDKs wait where all is emulated.
    let restored = thaw.says(&["create", "--snapshot", NAME]).await?;
    thaw.says(&["kill", &sandbox, &restored]).await?;
    Ok(())
}
