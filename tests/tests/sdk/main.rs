//! The official Deno Sandbox SDKs for Python and JavaScript, unmodified, against hostd's gateway.
#![allow(missing_docs)]

mod coverage;
mod deno;

use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, ensure};
use protocol::hostd::v1::ListSandboxesRequest;
use tempfile::TempDir;
use tests::host::HostOptions;
use tests::measure::eventually;
use tests::products::Products;
use tests::thaw::Thaw;
use tests::world::World;
use tests::{Host, Result, suite};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

suite!(
    host: start,
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

/// A script of `python/` or `javascript/`: its name, and its text.
macro_rules! script {
    ($folder:literal, $name:literal) => {
        Script {
            name: $name,
            text: include_str!(concat!($folder, "/", $name)),
        }
    };
}

/// As the JavaScript SDK wants an organisation's token to begin.
const TOKEN: &str = "ddo_a-token-for-the-tests";
/// Where the packages are: Python's in `python`, and JavaScript's in `javascript/node_modules`.
const PACKAGES: &str = "THAW_SDK_PACKAGES";
/// What is below it leads to sandboxes, and a file in [`Beside::files`].
const INGRESS_DOMAIN: &str = "boxes.thaw.example";
const CERTIFICATE: &str = "ingress.pem";
/// A script may take so long where the processor is emulated.
const PATIENCE: Duration = Duration::from_secs(240);
/// How long an end may take to be seen.
const SOON: Duration = Duration::from_secs(20);

struct Script {
    name: &'static str,
    text: &'static str,
}

/// What is beside the host that all tests share.
static BESIDE: OnceLock<Beside> = OnceLock::new();

/// The small internet, and where the host is reached.
struct Beside {
    world: World,
    address: SocketAddr,
    /// Where requests for what sandboxes expose come in.
    ingress: SocketAddr,
    /// The token, and the ingress' certificate.
    files: TempDir,
    /// Variables with tokens of organisations.
    tokens: Vec<(&'static str, String)>,
}

/// Starts a host with a gateway, an ingress, SSH and networks.
async fn start() -> Result<Arc<Host>> {
    let files = tempfile::tempdir()?;
    let token = files.path().join("token");
    std::fs::write(&token, TOKEN)?;
    let free = || TcpListener::bind("127.0.0.1:0")?.local_addr();
    let (address, ingress, ssh) = (free()?, free()?, free()?.to_string());
    let world = World::start().await?;
    let mut options = HostOptions::with_default_snapshot(Products::find()?)?;
    options.extra = world.hostd_options();
    options.extra.extend(["--network".into(), "on".into()]);
    options.extra.push("--gateway".into());
    options.extra.push(address.to_string().into());
    options.extra.extend(["--token-file".into(), token.into()]);
    options
        .extra
        .extend(ingress_options(ingress, files.path())?);
    options.extra.extend(["--ssh".into(), ssh.clone().into()]);
    options.extra.extend(["--ssh-host".into(), ssh.into()]);
    let host = Host::start(options).await?;
    // The SDK waits for no handshake longer than ten seconds, which the first restore may take where all is emulated.
    host.create().await?.kill().await?;
    deno::snapshot(&host).await?;
    let beside = Beside {
        world,
        address,
        ingress,
        files,
        tokens: tokens(&host).await?,
    };
    ensure!(BESIDE.set(beside).is_ok(), "there is one already");
    Ok(host)
}

/// The shared host, as the SDKs' programs use it.
struct Gateway {
    host: Arc<Host>,
    beside: &'static Beside,
}

impl Gateway {
    fn of(host: Arc<Host>) -> Result<Self> {
        let beside = BESIDE.get().context("the host was not started here")?;
        Ok(Self { host, beside })
    }

    /// Python with the SDK, and the script.
    fn python(&self, script: &Script, token: &str) -> Result<Command> {
        let packages = packages("python")?;
        let mut python = self.client("python3", token);
        python
            .args([
                "-c",
                &format!("{}\n{}", include_str!("python/common.py"), script.text),
            ])
            .env("PYTHONPATH", packages)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        Ok(python)
    }

    /// Node with the SDK, and the script.
    fn javascript(&self, script: &Script) -> Result<Command> {
        let packages = packages("javascript")?;
        let mut node = self.client("node", TOKEN);
        let script = format!("{}\n{}", include_str!("javascript/common.mjs"), script.text);
        node.args(["--input-type=module", "--eval", &script])
            // What is imported is looked for from here.
            .current_dir(packages);
        Ok(node)
    }

    fn client(&self, program: &str, token: &str) -> Command {
        let endpoint = format!("http://{}", self.beside.address);
        let mut client = Command::new(program);
        client
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("DENO_SANDBOX_ENDPOINT", &endpoint)
            .env("DENO_DEPLOY_ENDPOINT", &endpoint)
            .env("DENO_DEPLOY_TOKEN", token)
            .env("THAW_INGRESS", self.beside.ingress.to_string())
            .env(
                "THAW_CERTIFICATE",
                self.beside.files.path().join(CERTIFICATE),
            )
            .envs(self.beside.tokens.iter().map(|(name, token)| (name, token)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        client
    }

    /// Runs scripts to their ends, one after the other; all that they checked was as expected.
    async fn run(&self, scripts: &[Script]) -> Result {
        for script in scripts {
            let ran = tokio::time::timeout(PATIENCE, self.run_one(script)).await;
            ran.context("the script does not end")?
                .context(script.name)?;
        }
        Ok(())
    }

    async fn run_one(&self, script: &Script) -> Result {
        let mut client = match script.name.ends_with(".py") {
            true => self.python(script, TOKEN)?,
            false => self.javascript(script)?,
        };
        let output = client.output().await?;
        let (said, told) = (text(&output.stdout), text(&output.stderr));
        ensure!(
            output.status.success(),
            "{said}\n{told}\n{}",
            self.host.failures().await
        );
        let last = said.lines().last().unwrap_or_default();
        let checked = last
            .strip_prefix("checked ")
            .and_then(|n| n.parse::<u32>().ok());
        let checked = checked.filter(|checked| *checked > 0);
        println!(
            "{}: {} checks",
            script.name,
            checked.with_context(|| said.clone())?
        );
        coverage::note(script.name, &said);
        Ok(())
    }

    /// A client that has a sandbox of its session and one that is to outlive it, and does nothing more.
    async fn client_of_two(&self) -> Result<Child> {
        let mut client = self
            .python(&script!("python", "killed.py"), TOKEN)?
            .spawn()?;
        let said = client.stdout.take().context("no output")?;
        let mut lines = BufReader::new(said).lines();
        let ready = tokio::time::timeout(PATIENCE, lines.next_line()).await??;
        ensure!(ready.as_deref() == Some("ready"), "{ready:?}");
        ensure!(self.living().await? == 2);
        Ok(client)
    }

    async fn living(&self) -> Result<usize> {
        let list = ListSandboxesRequest::default();
        let list = self.host.clients().sandboxes().list(list).await?;
        Ok(list.into_inner().sandboxes.len())
    }

    async fn becomes(&self, count: usize) -> Result {
        let is_so = || async { self.living().await.is_ok_and(|living| living == count) };
        ensure!(
            eventually(SOON, is_so).await,
            "{} sandboxes live, not {count}",
            self.living().await?
        );
        Ok(())
    }
}

/// Tokens that the command line makes.
async fn tokens(host: &Arc<Host>) -> Result<Vec<(&'static str, String)>> {
    let thaw = Thaw::new(host)?;
    let mut tokens = Vec::new();
    for (name, options) in [
        ("THAW_ACME", "--organisation acme --max-sandboxes 1"),
        ("THAW_READER", "--organisation acme --scope read"),
        ("THAW_OTHER", "--organisation other"),
    ] {
        let mut arguments = vec!["token", "create"];
        arguments.extend(options.split(' '));
        let made = thaw.output(&arguments).await?;
        ensure!(made.code == Some(0), "{}", made.stderr);
        tokens.push((name, made.stdout.trim().to_owned()));
    }
    let listed = thaw.output(&["token", "ls"]).await?.stdout;
    ensure!(listed.contains("0 of 1"), "{listed}");
    Ok(tokens)
}

/// An ingress with a certificate of its own, which is kept in `files`.
fn ingress_options(address: SocketAddr, files: &Path) -> Result<Vec<OsString>> {
    let names = [format!("*.{INGRESS_DOMAIN}")];
    let made = rcgen::generate_simple_self_signed(names)?;
    let (cert, key) = (files.join(CERTIFICATE), files.join("ingress-key.pem"));
    std::fs::write(&cert, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    let domain = format!("{INGRESS_DOMAIN}:{}", address.port());
    Ok(vec![
        "--ingress".into(),
        address.to_string().into(),
        "--ingress-domain".into(),
        domain.into(),
        "--ingress-cert".into(),
        cert.into(),
        "--ingress-key".into(),
        key.into(),
    ])
}

/// The packages for a language.
fn packages(language: &str) -> Result<PathBuf> {
    let packages = std::env::var(PACKAGES).context(PACKAGES)?;
    let packages = Path::new(&packages).join(language);
    ensure!(packages.is_dir(), "there is no {}", packages.display());
    Ok(packages)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn the_snippets_of_the_announcement(host: Arc<Host>) -> Result {
    let gateway = Gateway::of(host)?;
    gateway
        .run(&[
            script!("python", "announced.py"),
            script!("javascript", "announced.mjs"),
        ])
        .await?;
    let requests = gateway.beside.world.requests()?;
    ensure!(requests.len() == 4, "{requests:?}");
    for seen in requests {
        let sent = seen.headers.get("authorization").map(String::as_str);
        ensure!(
            sent == Some("Bearer sk-live-from-the-announcement"),
            "{seen:?}"
        );
    }
    gateway.becomes(0).await
}

async fn files(host: Arc<Host>) -> Result {
    let gateway = Gateway::of(host)?;
    gateway
        .run(&[
            script!("python", "files.py"),
            script!("javascript", "files.mjs"),
        ])
        .await
}

async fn programs(host: Arc<Host>) -> Result {
    let gateway = Gateway::of(host)?;
    gateway
        .run(&[
            script!("python", "programs.py"),
            script!("javascript", "programs.mjs"),
        ])
        .await
}

async fn sessions(host: Arc<Host>) -> Result {
    let gateway = Gateway::of(host)?;
    gateway
        .run(&[
            script!("python", "sessions.py"),
            script!("javascript", "sessions.mjs"),
        ])
        .await?;
    gateway.becomes(0).await?;
    // A client that is killed takes its session with it, and nothing else.
    let mut client = gateway.client_of_two().await?;
    client.kill().await?;
    gateway.becomes(1).await?;
    gateway.host.clear().await?;
    // One that stops without a word is missed.
    let mut client = gateway.client_of_two().await?;
    signal(&client, nix::sys::signal::Signal::SIGSTOP)?;
    let is_so = || async { gateway.living().await.is_ok_and(|living| living == 1) };
    ensure!(
        eventually(Duration::from_secs(90), is_so).await,
        "a silent client is not missed"
    );
    client.kill().await?;
    gateway.host.clear().await
}

fn signal(child: &Child, signal: nix::sys::signal::Signal) -> Result {
    let pid = child.id().context("it has ended")?;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), signal)?;
    Ok(())
}

async fn what_is_exposed(host: Arc<Host>) -> Result {
    let gateway = Gateway::of(host)?;
    gateway
        .run(&[
            script!("python", "exposed.py"),
            script!("javascript", "exposed.mjs"),
        ])
        .await?;
    gateway.becomes(0).await
}

async fn by_ssh(host: Arc<Host>) -> Result {
    let gateway = Gateway::of(host)?;
    gateway.run(&[script!("python", "ssh.py")]).await?;
    gateway.becomes(0).await
}

async fn tokens_and_nonsense(host: Arc<Host>) -> Result {
    let gateway = Gateway::of(host)?;
    let refused = gateway.python(
        &script!("python", "refused.py"),
        "ddo_another-token-entirely",
    )?;
    let mut refused = refused;
    let output = refused.output().await?;
    ensure!(output.status.success(), "{}", text(&output.stderr));
    gateway
        .run(&[
            script!("python", "tokens.py"),
            script!("python", "nonsense.py"),
        ])
        .await?;
    gateway
        .run(&[
            script!("python", "hosting.py"),
            script!("javascript", "hosting.mjs"),
        ])
        .await?;
    gateway.becomes(0).await?;
    let log = gateway.host.log_tail();
    ensure!(!log.contains("panicked"), "{log}");
    Ok(())
}

async fn denos_programs(host: Arc<Host>) -> Result {
    let gateway = Gateway::of(host)?;
    gateway
        .run(&[
            script!("python", "deno.py"),
            script!("python", "sockets.py"),
            script!("javascript", "deno.mjs"),
        ])
        .await?;
    gateway.becomes(0).await
}

async fn abrupt_ends(host: Arc<Host>) -> Result {
    let gateway = Gateway::of(host)?;
    gateway.run(&[script!("python", "abrupt.py")]).await?;
    gateway.becomes(0).await
}

/// The last that need the snapshot with Deno: it is deleted here.
async fn snapshots(host: Arc<Host>) -> Result {
    let gateway = Gateway::of(host)?;
    gateway
        .run(&[
            script!("python", "snapshots.py"),
            script!("javascript", "snapshots.mjs"),
        ])
        .await
}

/// After the others: it is about what they called.
async fn every_call_is_covered(_: Arc<Host>) -> Result {
    coverage::check()
}
