//! mitmproxy with an addon that does what it can do of ours: puts the value in the place of the placeholder.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use tests::world::addresses::API;

use super::program::{on_core, spawn, until_ready};
use super::{Contestant, Surroundings};
use crate::client::Connector;
use crate::shares::{HOST, KEY};

const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8444);
const PLACEHOLDER: &str = "DENO_SECRET_PLACEHOLDER_00112233445566778899aabbccddeeff";

/// Starts it. Large bodies are streamed, because it would gather them otherwise.
pub fn start(name: &'static str, around: Surroundings<'_>) -> tests::Result<Contestant> {
    let directory = around.directory.join("mitmproxy");
    fs::create_dir(&directory)?;
    let addon = directory.join("substitute.py");
    fs::write(&addon, source())?;
    let mut command = on_core(around.core, &around.programs.mitmdump);
    command
        .args(["--quiet", "--listen-host", &ADDRESS.ip().to_string()])
        .args(["--listen-port", &ADDRESS.port().to_string()])
        .args(["--mode", &format!("reverse:https://{API}:443")])
        .arg("--scripts")
        .arg(&addon)
        .args(["--set", &format!("confdir={}", directory.display())])
        .args(["--set", "ssl_insecure=true", "--set", "http2=false"])
        .args(["--set", "keep_host_header=true"])
        .args(["--set", "stream_large_bodies=1m"]);
    let program = spawn(&mut command)?;
    until_ready(Contestant {
        name,
        connector: Connector::new(ADDRESS, PLACEHOLDER)?,
        room: None,
        program: Some(program),
    })
}

fn source() -> String {
    format!(
        r#"
PLACEHOLDER, KEY, HOST = "{PLACEHOLDER}", "{KEY}", "{HOST}"

def request(flow):
    if flow.request.pretty_host == HOST:
        for name, value in flow.request.headers.items():
            if PLACEHOLDER in value:
                flow.request.headers[name] = value.replace(PLACEHOLDER, KEY)

def response(flow):
    for name, value in flow.response.headers.items():
        if KEY in value:
            flow.response.headers[name] = value.replace(KEY, PLACEHOLDER)
    if flow.response.raw_content and KEY.encode() in flow.response.raw_content:
        flow.response.content = flow.response.content.replace(KEY.encode(), PLACEHOLDER.encode())
"#
    )
}
