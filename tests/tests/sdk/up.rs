//! The hostd that `cargo xtask up` starts, as its users know it. It is found by these variables:
//!
//! | variable | what |
//! |---|---|
//! | `THAW_ENDPOINT`, `THAW_TOKEN_FILE` | the API, and the token for everything: as `thaw` takes them |
//! | `THAW_GATEWAY` | address and port of the SDKs' gateway |
//! | `THAW_INGRESS`, `THAW_CERTIFICATE` | the same of the ingress, and the certificate that it shows |
//! | `THAW_BIN` | directory with `thaw` |

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use tests::Result;
use tests::measure::eventually;
use tests::products::Missing;
use tests::suite::Subject;
use tests::thaw::Thaw;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use crate::deno;
use crate::script::{PATIENCE, Script, script};

/// How long an end may take to be seen.
const SOON: Duration = Duration::from_secs(20);

/// It, and what scripts get to know of it.
#[derive(Debug)]
pub struct Up {
    pub thaw: Thaw,
    pub variables: Vec<(&'static str, String)>,
}

impl Up {
    /// Finds it, and makes what scripts need there.
    pub fn find() -> Pin<Box<dyn Future<Output = Result<Arc<Self>>>>> {
        Box::pin(async {
            let thaw = Thaw::at(
                &PathBuf::from(told("THAW_BIN")?).join("thaw"),
                &told("THAW_ENDPOINT")?,
            );
            let token = std::fs::read_to_string(told("THAW_TOKEN_FILE")?)?;
            let gateway = format!("http://{}", told("THAW_GATEWAY")?);
            let mut up = Self {
                thaw,
                variables: vec![
                    ("DENO_SANDBOX_ENDPOINT", gateway.clone()),
                    ("DENO_DEPLOY_ENDPOINT", gateway),
                    ("DENO_DEPLOY_TOKEN", token),
                    ("THAW_INGRESS", told("THAW_INGRESS")?),
                    ("THAW_CERTIFICATE", told("THAW_CERTIFICATE")?),
                ],
            };
            up.make_tokens().await?;
            deno::snapshot(&up.thaw).await?;
            Ok(Arc::new(up))
        })
    }

    /// Tokens that the command line makes.
    async fn make_tokens(&mut self) -> Result {
        for (name, options) in [
            ("THAW_ACME", "--organisation acme --max-sandboxes 1"),
            ("THAW_READER", "--organisation acme --scope read"),
            ("THAW_OTHER", "--organisation other"),
        ] {
            let mut arguments = vec!["token", "create"];
            arguments.extend(options.split(' '));
            let token = self.thaw.says(&arguments).await?;
            self.variables.push((name, token));
        }
        let listed = self.thaw.says(&["token", "ls"]).await?;
        ensure!(listed.contains("0 of 1"), "{listed}");
        Ok(())
    }

    /// Runs scripts, one after the other.
    pub async fn run(&self, scripts: &[Script]) -> Result {
        for script in scripts {
            script.run(self).await?;
        }
        Ok(())
    }

    /// A client that has a sandbox of its session and one that is to outlive it, and does nothing more.
    pub async fn client_of_two(&self) -> Result<Child> {
        let mut client = script!("python", "killed.py").command(self)?.spawn()?;
        let said = client.stdout.take().context("no output")?;
        let mut lines = BufReader::new(said).lines();
        let ready = tokio::time::timeout(PATIENCE, lines.next_line()).await??;
        ensure!(ready.as_deref() == Some("ready"), "{ready:?}");
        ensure!(self.living().await?.len() == 2);
        Ok(client)
    }

    /// The sandboxes that there are.
    pub async fn living(&self) -> Result<Vec<String>> {
        let listed = self.thaw.says(&["--json", "ps"]).await?;
        let listed: Vec<Value> = serde_json::from_str(&listed)?;
        let ids = listed.iter().map(|sandbox| sandbox["id"].as_str());
        ids.map(|id| Ok(id.context("no id")?.to_owned())).collect()
    }

    /// Waits until there are so many.
    pub async fn becomes(&self, count: usize) -> Result {
        self.becomes_within(SOON, count).await
    }

    /// The same for so long.
    pub async fn becomes_within(&self, patience: Duration, count: usize) -> Result {
        let is_so = || async { self.living().await.is_ok_and(|ids| ids.len() == count) };
        ensure!(
            eventually(patience, is_so).await,
            "{:?} live, not {count}",
            self.living().await?
        );
        Ok(())
    }
}

impl Subject for Up {
    async fn clear(self: &Arc<Self>) -> Result {
        for id in self.living().await? {
            self.thaw.says(&["kill", &id]).await?;
        }
        Ok(())
    }

    async fn report(&self) -> String {
        let listed = self.thaw.says(&["ps", "--all"]).await;
        listed.unwrap_or_else(|error| format!("{error:#}"))
    }

    /// Whoever started it stops it.
    async fn stop(self: Arc<Self>) -> Result {
        self.becomes(0).await
    }
}

fn told(variable: &str) -> Result<String> {
    let told = std::env::var(variable);
    Ok(told.map_err(|_| Missing::new(format!("no hostd ({variable}): use `cargo xtask test`")))?)
}
