//! Scripts that use an SDK, and say at their ends what they have checked and called.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use tests::Result;
use tests::products::Missing;
use tokio::process::Command;

use crate::coverage;
use crate::up::Up;

/// Where the packages are: Python's in `python`, and JavaScript's in `javascript/node_modules`.
const PACKAGES: &str = "THAW_SDK_PACKAGES";
/// A script may take so long where sandboxes' processors are emulated.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// A script of `python/` or `javascript/`: its name, and its text.
#[derive(Debug)]
pub struct Script {
    pub name: &'static str,
    pub text: &'static str,
}

/// One of them.
macro_rules! script {
    ($folder:literal, $name:literal) => {
        $crate::script::Script {
            name: $name,
            text: include_str!(concat!($folder, "/", $name)),
        }
    };
}
pub(crate) use script;

impl Script {
    /// Its interpreter with the SDK, told where `up` is.
    pub fn command(&self, up: &Up) -> Result<Command> {
        let mut command = match self.name.ends_with(".py") {
            true => self.python()?,
            false => self.javascript()?,
        };
        // Nothing else of this environment: SDKs read variables.
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("PYTHONPATH", packages("python")?)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs(up.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Ok(command)
    }

    fn python(&self) -> Result<Command> {
        let mut python = Command::new("python3");
        let text = format!("{}\n{}", include_str!("python/common.py"), self.text);
        python.args(["-c", &text]);
        Ok(python)
    }

    fn javascript(&self) -> Result<Command> {
        let mut node = Command::new("node");
        let text = format!("{}\n{}", include_str!("javascript/common.mjs"), self.text);
        node.args(["--input-type=module", "--eval", &text])
            // What is imported is looked for from here.
            .current_dir(packages("javascript")?);
        Ok(node)
    }

    /// Runs it to its end; all that it checked was as expected.
    pub async fn run(&self, up: &Up) -> Result {
        let ran = tokio::time::timeout(PATIENCE, self.run_to_its_end(up)).await;
        ran.context("the script does not end")?.context(self.name)
    }

    async fn run_to_its_end(&self, up: &Up) -> Result {
        let output = self.command(up)?.output().await?;
        let said = String::from_utf8_lossy(&output.stdout);
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{said}\n{told}");
        let last = said.lines().last().unwrap_or_default();
        let checked = last.strip_prefix("checked ");
        let checked = checked.and_then(|count| count.parse::<u32>().ok());
        let checked = checked.filter(|checked| *checked > 0);
        let checked = checked.with_context(|| said.clone().into_owned())?;
        println!("{}: {checked} checks", self.name);
        coverage::note(self.name, &said);
        Ok(())
    }
}

/// The packages for a language.
pub fn packages(language: &str) -> Result<PathBuf> {
    let packages = std::env::var_os(PACKAGES)
        .ok_or_else(|| Missing::new(format!("no SDKs ({PACKAGES}): use `cargo xtask test`")))?;
    let packages = Path::new(&packages).join(language);
    ensure!(packages.is_dir(), "there is no {}", packages.display());
    Ok(packages)
}
