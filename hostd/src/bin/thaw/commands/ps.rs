//! `thaw ps`: sandboxes, or the processes of one.

use std::time::SystemTime;

use clap::Args;
use prost_types::Timestamp;
use protocol::hostd::v1::{ListProcessesRequest, ListSandboxesRequest, Sandbox, SandboxState};
use protocol::types::v1::exit_status::Status;
use protocol::types::v1::{ExitStatus, ProcessInfo};

use crate::args::pair;
use crate::client::Hostd;
use crate::error::Error;
use crate::{json, output};

#[derive(Debug, Args)]
pub struct Ps {
    /// List the processes of this sandbox
    sandbox: Option<String>,
    /// List ended sandboxes, too
    #[arg(long, short, conflicts_with = "sandbox")]
    all: bool,
    /// Only sandboxes with this label; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = pair, conflicts_with = "sandbox")]
    label: Vec<(String, String)>,
}

/// Prints the table, or JSON.
pub async fn run(hostd: &Hostd, ps: Ps, as_json: bool) -> Result<(), Error> {
    match &ps.sandbox {
        Some(sandbox) => processes(hostd, sandbox, as_json).await,
        None => sandboxes(hostd, &ps, as_json).await,
    }
}

async fn sandboxes(hostd: &Hostd, ps: &Ps, as_json: bool) -> Result<(), Error> {
    let sandboxes = list(hostd, ps).await?;
    if as_json {
        return output::json(&sandboxes.iter().map(json::sandbox).collect());
    }
    let rows: Vec<_> = sandboxes.iter().map(sandbox_row).collect();
    output::table(
        [
            "SANDBOX", "STATE", "FROM", "VCPUS", "MEMORY", "AGE", "LABELS",
        ],
        &rows,
    )
}

/// All pages of the list.
async fn list(hostd: &Hostd, ps: &Ps) -> Result<Vec<Sandbox>, Error> {
    let mut request = ListSandboxesRequest {
        labels: ps.label.iter().cloned().collect(),
        ..ListSandboxesRequest::default()
    };
    if ps.all {
        request.states = ALL_STATES.map(i32::from).to_vec();
    }
    let mut sandboxes = Vec::new();
    loop {
        let page = hostd
            .sandboxes()
            .list(request.clone())
            .await
            .map_err(Error::refused("sandboxes"))?
            .into_inner();
        sandboxes.extend(page.sandboxes);
        if page.next_page_token.is_empty() {
            return Ok(sandboxes);
        }
        request.page_token = page.next_page_token;
    }
}

const ALL_STATES: [SandboxState; 5] = [
    SandboxState::Creating,
    SandboxState::Running,
    SandboxState::Paused,
    SandboxState::Stopped,
    SandboxState::Failed,
];

fn sandbox_row(sandbox: &Sandbox) -> [String; 7] {
    let mut labels: Vec<_> = sandbox
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    labels.sort();
    let state = match sandbox.end_reason.as_str() {
        "" => json::state(sandbox),
        reason => format!("{} ({reason})", json::state(sandbox)),
    };
    let from = match sandbox.snapshot_id.as_str() {
        "" => &sandbox.image,
        snapshot => snapshot,
    };
    [
        sandbox.id.clone(),
        state,
        from.to_owned(),
        sandbox.vcpus.to_string(),
        output::size(sandbox.memory_bytes),
        age(sandbox.created_at.as_ref()),
        labels.join(","),
    ]
}

async fn processes(hostd: &Hostd, sandbox: &str, as_json: bool) -> Result<(), Error> {
    let request = ListProcessesRequest {
        sandbox_id: sandbox.to_owned(),
    };
    let processes = hostd
        .processes()
        .list(request)
        .await
        .map_err(Error::refused(sandbox))?
        .into_inner()
        .processes;
    if as_json {
        return output::json(&processes.iter().map(json::process).collect());
    }
    let rows: Vec<_> = processes.iter().map(process_row).collect();
    output::table(["PID", "STATE", "TTY", "AGE", "COMMAND"], &rows)
}

fn process_row(process: &ProcessInfo) -> [String; 5] {
    let state = match (&process.exit, process.attached) {
        (Some(exit), _) => ended(exit),
        (None, true) => "running (attached)".to_owned(),
        (None, false) => "running".to_owned(),
    };
    let words: Vec<&str> = std::iter::once(&process.program)
        .chain(&process.args)
        .map(String::as_str)
        .collect();
    [
        process.pid.to_string(),
        state,
        if process.pty { "yes" } else { "no" }.to_owned(),
        age(process.started_at.as_ref()),
        words.join(" "),
    ]
}

fn ended(exit: &ExitStatus) -> String {
    match exit.status {
        _ if exit.timed_out => "timed out".to_owned(),
        Some(Status::Code(code)) => format!("exit {code}"),
        Some(Status::Signal(signal)) => format!("signal {signal}"),
        None => "ended".to_owned(),
    }
}

/// How long ago, to the second below an hour and to the minute above.
fn age(since: Option<&Timestamp>) -> String {
    let Some(since) = since.and_then(json::system_time) else {
        return "-".to_owned();
    };
    // A clock that went back makes things as young as can be.
    let seconds = SystemTime::now()
        .duration_since(since)
        .unwrap_or_default()
        .as_secs();
    match seconds {
        s if s < 60 => format!("{s}s"),
        s if s < 3600 => format!("{}m{}s", s / 60, s % 60),
        s if s < 86_400 => format!("{}h{}m", s / 3600, s % 3600 / 60),
        s => format!("{}d{}h", s / 86_400, s % 86_400 / 3600),
    }
}
