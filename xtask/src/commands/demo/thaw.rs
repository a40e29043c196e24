//! The command line, used as a user would, and shown.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::secrets;
use crate::exec::signals;

/// The command line as a user has it.
#[derive(Debug)]
pub struct Thaw {
    pub(super) program: PathBuf,
    pub(super) endpoint: String,
    pub(super) token_file: PathBuf,
}

impl Thaw {
    /// Runs it and shows the command, its output and its time. Returns the output.
    pub fn shown(&self, arguments: &[&str]) -> Result<String> {
        let start = Instant::now();
        let output = self.quiet(arguments)?;
        let shown: Vec<String> = arguments.iter().map(|word| abridged(word)).collect();
        println!(
            "  $ thaw {}   [{} ms]",
            shown.join(" "),
            start.elapsed().as_millis()
        );
        for line in output.lines() {
            println!("    {line}");
        }
        Ok(output)
    }

    pub fn quiet(&self, arguments: &[&str]) -> Result<String> {
        signals::check()?;
        let output = Command::new(&self.program)
            .args(arguments)
            .env("THAW_ENDPOINT", &self.endpoint)
            .env("THAW_TOKEN_FILE", &self.token_file)
            .env(secrets::VARIABLE, secrets::VALUE)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .context("cannot start thaw")?;
        if !output.status.success() {
            bail!("thaw {} failed ({})", arguments.join(" "), output.status);
        }
        Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned())
    }

    /// A sandbox restored from `snapshot`; shows where the time went.
    pub fn create(&self, snapshot: &str) -> Result<String> {
        let start = Instant::now();
        let sandbox: Value =
            serde_json::from_str(&self.quiet(&["--json", "create", "--snapshot", snapshot])?)?;
        let took = start.elapsed().as_millis();
        let stages: Vec<String> = sandbox["create_stages"]
            .as_array()
            .into_iter()
            .flatten()
            .map(stage)
            .collect();
        println!(
            "  restored from `{snapshot}`   [{took} ms: {}]",
            stages.join(", ")
        );
        Ok(sandbox["id"]
            .as_str()
            .context("thaw create named no sandbox")?
            .to_owned())
    }

    pub fn count(&self, sandbox: &str) -> Result<u64> {
        Ok(self
            .quiet(&["exec", sandbox, "cat", "/tmp/count"])?
            .trim()
            .parse()?)
    }
}

/// A stage of a restore and its time.
fn stage(stage: &Value) -> String {
    let name = stage["name"].as_str().unwrap_or("?");
    format!(
        "{name} {:.1}",
        stage["milliseconds"].as_f64().unwrap_or(0.0)
    )
}

/// A word as one short line.
fn abridged(word: &str) -> String {
    let line = word.lines().next().unwrap_or_default();
    match line.len() < word.len() {
        true => format!("'{line} …'"),
        false if line.contains(' ') => format!("'{line}'"),
        false => line.to_owned(),
    }
}
