//! `cargo xtask demo`

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::Value;

use super::up::new_token;
use crate::{
    deployment::Deployment,
    exec::signals,
    host::Host,
    lease::Lease,
    paths,
    products::{self, Products},
    progress,
    service::{Options, Service},
    snapshot,
};

/// Counts in memory, and notes where it is. It goes on when its machine is restored.
const COUNTER: &str = "import os, time
n = 0
while True:
    n += 1
    open('/tmp/new', 'w').write(str(n))
    os.replace('/tmp/new', '/tmp/count')
    time.sleep(0.05)";

/// A program that needs more than arithmetic.
const PROGRAM: &str = "import json, platform, hashlib
print(json.dumps({'python': platform.python_version(), 'kernel': platform.release(),
                  'sha256': hashlib.sha256(b'thaw').hexdigest()[:16]}))";

/// Build everything, restore sandboxes from a snapshot, and run programs in them.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Use programs that were built before, whatever the sources say.
    #[arg(long)]
    no_build: bool,
}

/// Runs the command.
///
/// # Errors
/// When anything does not go as it should.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let products = products::get(arguments.no_build)?;
    let lease = Lease::take(&products)?;
    let host = &lease.host;
    let deployment = Deployment::new(host, &products)?;
    let snapshots = snapshot::ensure(host, &products, &deployment)?;
    demonstrate(host, &products, &deployment, &snapshots)?;
    lease.end()?;
    println!("\nThat was Thaw. `cargo xtask up` leaves a hostd running for you.");
    Ok(ExitCode::SUCCESS)
}

/// Shows it all against a hostd of its own.
///
/// # Errors
/// When anything does not go as it should.
pub fn demonstrate(
    host: &Host,
    products: &Products,
    deployment: &Deployment,
    snapshots: &str,
) -> Result<()> {
    // A port and a name of its own: it works beside what `up` has started.
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let token_file = paths::cache()?.join("demo.token");
    let token = new_token(&token_file)?;
    let service = Service::new(host, "demo");
    let options = Options {
        tcp: Some((port, &token)),
        snapshots: Some(snapshots),
    };
    let running = service.start(deployment, &options)?;
    host.forward(port)?;
    let thaw = Thaw {
        program: products.program("thaw")?.clone(),
        endpoint: format!("http://127.0.0.1:{port}"),
        token_file,
    };
    progress::say(format!("hostd runs on {}", host.describe()));
    let shown = show(&thaw);

    host.end_forward(port);
    running.stop()?;
    std::fs::remove_file(&thaw.token_file)?;
    shown
}

fn show(thaw: &Thaw) -> Result<()> {
    title("one sandbox, one program: restored from a snapshot, run, killed");
    thaw.shown(&["run", "--", "uname", "-a"])?;
    thaw.shown(&["run", "--", "python3", "-c", PROGRAM])?;

    title("two clones of one snapshot are two machines");
    let draw = "import os, uuid; print(uuid.uuid4(), os.urandom(8).hex())";
    let first = thaw.shown(&["run", "--", "python3", "-c", draw])?;
    let second = thaw.shown(&["run", "--", "python3", "-c", draw])?;
    ensure!(first != second, "both clones drew the same random bytes");

    title("a program goes on where its snapshot was taken");
    let origin = thaw.create("default")?;
    let start = format!("nohup python3 -c \"{COUNTER}\" >/dev/null 2>&1 &");
    thaw.shown(&["exec", &origin, "sh", "-c", &start])?;
    let counting = "until [ -e /tmp/count ]; do sleep 0.1; done; sleep 1";
    thaw.quiet(&["exec", "--timeout", "60s", &origin, "sh", "-c", counting])?;
    let before = thaw.count(&origin)?;
    thaw.shown(&["snapshot", "create", &origin, "--name", "demo-counting"])?;
    thaw.quiet(&["kill", &origin])?;
    let clones = [thaw.create("demo-counting")?, thaw.create("demo-counting")?];
    for clone in &clones {
        let after = thaw.count(clone)?;
        println!("  counted to {before} before the snapshot, to {after} in clone {clone}");
        ensure!(after >= before, "the counter started again");
    }

    title("and what one clone writes, the other does not see");
    thaw.shown(&[
        "exec",
        &clones[0],
        "sh",
        "-c",
        "echo mine >/root/note; cat /root/note",
    ])?;
    let looked = thaw.shown(&[
        "exec",
        &clones[1],
        "sh",
        "-c",
        "cat /root/note 2>&1 || true",
    ])?;
    ensure!(!looked.contains("mine"), "the clones share a disk");
    thaw.shown(&["ps"])?;
    for clone in &clones {
        thaw.quiet(&["kill", clone])?;
    }
    Ok(())
}

fn title(text: &str) {
    println!("\n— {text}");
}

/// The command line as a user has it.
struct Thaw {
    program: PathBuf,
    endpoint: String,
    token_file: PathBuf,
}

impl Thaw {
    /// Runs it and shows the command, its output and its time. Returns the output.
    fn shown(&self, arguments: &[&str]) -> Result<String> {
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

    fn quiet(&self, arguments: &[&str]) -> Result<String> {
        signals::check()?;
        let output = Command::new(&self.program)
            .args(arguments)
            .env("THAW_ENDPOINT", &self.endpoint)
            .env("THAW_TOKEN_FILE", &self.token_file)
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
    fn create(&self, snapshot: &str) -> Result<String> {
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

    fn count(&self, sandbox: &str) -> Result<u64> {
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
