//! From `create` to the first output of a program: through the Python SDK, through the gateway without it, and through gRPC.
//!
//! Every round measures each way in turn, on one host and from the same snapshot, so that what slows the machine down slows all.
//! What the gateway adds is a round's difference between its bare WebSocket and gRPC; what the SDK adds, that between it and the
//! bare WebSocket.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tests::bench::Table;
use tests::host::HostOptions;
use tests::process::program;
use tests::products::Products;
use tests::{Host, Result};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

const TOKEN: &str = "ddo_a-token-for-the-bench";
/// A round trip of anything may take so long where the processor is emulated.
const PATIENCE: Duration = Duration::from_secs(120);
/// Says how long `create` took, and then the first output, for each line that it reads.
const SCRIPT: &str = r#"
import sys, time
from deno_sandbox import DenoDeploy
sdk = DenoDeploy()
for _ in sys.stdin:
    start = time.monotonic()
    with sdk.sandbox.create() as sandbox:
        created = time.monotonic()
        process = sandbox.spawn("echo", args=["x"], stdout="piped")
        assert process.stdout.read() == b"x\n"
        print(created - start, time.monotonic() - created, flush=True)
"#;

/// Measures the SDK beside gRPC.
#[derive(Debug, Parser)]
struct Args {
    /// Rounds
    #[arg(long, default_value_t = 20)]
    runs: u32,
    /// Write the rows to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = tokio::runtime::Runtime::new()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(&args)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-sdk: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result {
    let files = tempfile::tempdir()?;
    let token = files.path().join("token");
    std::fs::write(&token, TOKEN)?;
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut options = HostOptions::with_default_snapshot(Products::find()?)?;
    let gateway = address.to_string();
    options.extra.extend(["--gateway".into(), gateway.into()]);
    options.extra.extend(["--token-file".into(), token.into()]);
    let host = Host::start(options).await?;
    // Fills the template; what a first restore takes, `bench restore` tells.
    host.create().await?.kill().await?;
    let mut python = Python::start(address)?;
    python.round().await?;

    let mut table = Table::new("sdk");
    for number in 1..=args.runs {
        eprintln!("round {number}/{}", args.runs);
        let grpc = by_grpc(&host).await?;
        let socket = by_socket(address).await?;
        let sdk = python.round().await?;
        for (case, times) in [("gRPC", grpc), ("WebSocket", socket), ("Python SDK", sdk)] {
            table.add(case, "create", "ms", times.created * 1e3);
            table.add(case, "spawn, and its output", "ms", times.said * 1e3);
            table.add(case, "both", "ms", times.both() * 1e3);
        }
        let share = |more: Times, less: Times| (more.both() - less.both()) / sdk.both() * 1e2;
        table.add("share of both", "gateway", "%", share(socket, grpc));
        table.add("share of both", "Python SDK", "%", share(sdk, socket));
    }
    // A host that stops looks at what is left on it.
    python.stop().await?;
    host.stop().await?;
    let about = format!("one host, {} rounds", args.runs);
    table.print(&about);
    match &args.json {
        Some(path) => Ok(std::fs::write(
            path,
            format!("{:#}\n", table.to_json(&about)),
        )?),
        None => Ok(()),
    }
}

/// Of one round, in seconds.
#[derive(Clone, Copy)]
struct Times {
    created: f64,
    /// From then on until the output.
    said: f64,
}

impl Times {
    fn since(start: Instant, created: Instant) -> Self {
        Self {
            created: (created - start).as_secs_f64(),
            said: created.elapsed().as_secs_f64(),
        }
    }

    fn both(self) -> f64 {
        self.created + self.said
    }
}

async fn by_grpc(host: &Arc<Host>) -> Result<Times> {
    let start = Instant::now();
    let sandbox = host.create().await?;
    let created = Instant::now();
    let output = sandbox
        .start(program(["echo", "x"]))
        .await?
        .output()
        .await?;
    let times = Times::since(start, created);
    ensure!(output.text()? == "x");
    sandbox.kill().await?;
    Ok(times)
}

async fn by_socket(gateway: SocketAddr) -> Result<Times> {
    let start = Instant::now();
    let mut request = format!("ws://{gateway}/api/v3/sandboxes/create").into_client_request()?;
    let headers = request.headers_mut();
    headers.insert("authorization", format!("Bearer {TOKEN}").parse()?);
    let stream = TcpStream::connect(gateway).await?;
    let opening = tokio_tungstenite::client_async(request, stream);
    let (mut socket, _) = tokio::time::timeout(PATIENCE, opening).await??;
    let created = Instant::now();
    let spawn = json!({"command": "echo", "args": ["x"], "stdout": "piped", "stderr": "null"});
    ask(&mut socket, 1, "spawn", spawn).await?;
    let spawned = hear(&mut socket, |said| said["id"] == 1).await?;
    let pid = &spawned["result"]["ok"]["pid"];
    ask(&mut socket, 2, "processWait", json!({"pid": pid})).await?;
    let output = |said: &Value| said["method"] == "$sandbox.stream.enqueue";
    hear(&mut socket, output).await?;
    let times = Times::since(start, created);
    socket.close(None).await?;
    Ok(times)
}

async fn ask(
    socket: &mut WebSocketStream<TcpStream>,
    id: u32,
    method: &str,
    params: Value,
) -> Result {
    let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    Ok(socket.send(Message::text(request.to_string())).await?)
}

async fn hear(
    socket: &mut WebSocketStream<TcpStream>,
    wanted: impl Fn(&Value) -> bool,
) -> Result<Value> {
    loop {
        let message = tokio::time::timeout(PATIENCE, socket.next()).await?;
        match message.context("the session ended")?? {
            Message::Text(text) => {
                let said = serde_json::from_str(&text)?;
                if wanted(&said) {
                    return Ok(said);
                }
            }
            Message::Close(close) => bail!("the session ended: {close:?}"),
            _ => {}
        }
    }
}

/// The SDK, in a process that stays.
struct Python {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Python {
    fn start(gateway: SocketAddr) -> Result<Self> {
        let packages = std::env::var("THAW_SDK_PACKAGES").context("THAW_SDK_PACKAGES")?;
        let endpoint = format!("http://{gateway}");
        let mut child = Command::new("python3")
            .args(["-c", SCRIPT])
            .env("PYTHONPATH", Path::new(&packages).join("python"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("DENO_SANDBOX_ENDPOINT", &endpoint)
            .env("DENO_DEPLOY_ENDPOINT", &endpoint)
            .env("DENO_DEPLOY_TOKEN", TOKEN)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().context("no output")?;
        Ok(Self {
            input: child.stdin.take().context("no input")?,
            output: BufReader::new(output).lines(),
            child,
        })
    }

    async fn stop(mut self) -> Result {
        drop(self.input);
        self.child.wait().await?;
        Ok(())
    }

    async fn round(&mut self) -> Result<Times> {
        self.input.write_all(b"\n").await?;
        let line = tokio::time::timeout(PATIENCE, self.output.next_line()).await??;
        let line = line.context("Python ended")?;
        let (created, said) = line.split_once(' ').context("two times")?;
        Ok(Times {
            created: created.parse()?,
            said: said.parse()?,
        })
    }
}
