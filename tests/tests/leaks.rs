//! After a run with secrets: no byte of one in what a sandbox or hostd leaves behind.
//!
//! Each place is searched for a marker that has to be there, too: so the search can fail.
#![allow(missing_docs)]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use nix::sys::signal::Signal;
use protocol::hostd::v1::create_sandbox_request::Source;
use protocol::hostd::v1::{CreateSandboxRequest, Secret, SecretSurface};
use snapshots::store::Store;
use tests::host::HostOptions;
use tests::process::Process;
use tests::procfs::{self, files_below};
use tests::products::Products;
use tests::scan::{Found, Scanner};
use tests::stage::{Stage, key, network};
use tests::world::addresses::NAME_SERVER;
use tests::{Host, Result, Sandbox, suite};

suite!(no_byte_of_a_secret_is_left_behind);

const VALUE: &str = "sk-live-51a9c3e7f0b24d68";
/// A label, a name that is refused, and what a program in the sandbox holds and writes.
const MARKER: &str = "marker-3f9d27c1a5b8";

async fn no_byte_of_a_secret_is_left_behind(_: Arc<Host>) -> Result {
    let options = HostOptions::with_default_snapshot(Products::find()?)?;
    let stage = Stage::start(options).await?;
    let name_server = NAME_SERVER.to_string();
    let scanner = Scanner::new(&[
        ("secret", VALUE.as_bytes()),
        ("marker", MARKER.as_bytes()),
        ("name server", name_server.as_bytes()),
    ])?;
    let sandbox = sandbox(&stage).await?;
    let holder = use_it(&sandbox).await?;
    sent(&stage)?;

    processes(&scanner, &stage.host)?;
    let snapshot = sandbox.snapshot().await?;
    memory(&scanner, &stage.host, &snapshot.id)?;
    files(&scanner, stage.host.directory())?;

    // Nothing is left of a crash, either.
    let status = stage.host.dies_of(Signal::SIGABRT).await?;
    ensure!(
        status.signal() == Some(Signal::SIGABRT as i32) && !status.core_dumped(),
        "{status}"
    );
    files(&scanner, stage.host.directory())?;
    drop((sandbox, holder));
    let host = stage.host.start_again().await?;
    host.stop().await
}

async fn sandbox(stage: &Stage) -> Result<Sandbox> {
    let everywhere = SecretSurface {
        path: true,
        query: true,
        body: true,
        ..Default::default()
    };
    let secret = Secret {
        surface: Some(everywhere),
        ..key(VALUE, &["api.thaw.example"])
    };
    let request = CreateSandboxRequest {
        source: Some(Source::Snapshot("default".into())),
        labels: [("what".to_owned(), MARKER.to_owned())].into(),
        network: Some(network(&["api.thaw.example"], vec![secret])),
        ..Default::default()
    };
    Ok(stage.host.create_with(request).await?)
}

/// Sends the secret in every place, keeps what comes back on the disk, and holds it all in a program's memory.
async fn use_it(sandbox: &Sandbox) -> Result<Process> {
    let line = format!(
        "cd /root && echo {MARKER} >marker && \
         curl -sS -m 60 -H \"authorization: Bearer $API_KEY\" https://api.thaw.example/header >answers && \
         curl -sS -m 60 -u \"user:$API_KEY\" -d \"body=$API_KEY\" \"https://api.thaw.example/$API_KEY?key=$API_KEY\" >>answers && \
         curl -sS -m 60 -H 'content-type: application/json' -d \"{{\\\"k\\\": \\\"$API_KEY\\\"}}\" https://api.thaw.example/json >>answers && \
         sync; curl -sS -m 10 http://{MARKER}.example/; true"
    );
    let output = sandbox.shell(&line).await?;
    ensure!(output.code() == Some(0), "{output:?}");
    let holder = "import sys; held = open('/root/answers').read(), open('/root/marker').read()\n\
                  print('holds', flush=True)\nsys.stdin.read()";
    let spec = protocol::types::v1::ProcessSpec {
        stdin: true,
        ..tests::process::python(holder)
    };
    let mut holder = sandbox.start(spec).await?;
    holder.read_until("holds").await?;
    Ok(holder)
}

/// Otherwise there would have been nothing to find.
fn sent(stage: &Stage) -> Result {
    let requests = stage.world.requests()?;
    let with = requests
        .iter()
        .filter(|seen| format!("{seen:?}").contains(VALUE));
    ensure!(with.count() == 3, "{requests:#?}");
    Ok(())
}

/// What `/proc` shows of hostd and all that it has started.
fn processes(scanner: &Scanner, host: &Host) -> Result {
    let mut found = Found::new();
    let descendants = procfs::descendants(host.pid());
    let pids = descendants.iter().map(|process| process.pid);
    for pid in pids.chain([host.pid()]) {
        for file in ["cmdline", "environ"] {
            let bytes = fs::read(format!("/proc/{pid}/{file}"))?;
            found.extend(scanner.bytes(&bytes));
        }
        let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
        let core = limits.lines().find(|line| line.contains("core file"));
        let mut words = core.context("no limit of core files")?.split_whitespace();
        ensure!(
            words.by_ref().any(|word| word == "0") && words.next() == Some("0"),
            "{limits}"
        );
    }
    only(&found, "name server", "what processes show")
}

/// The guest's memory as a snapshot has it.
fn memory(scanner: &Scanner, host: &Host, id: &str) -> Result {
    let scratch = tempfile::tempdir()?;
    let store = Store::open(scratch.path(), &[host.state().join("snapshots")])?;
    let found = scanner.memory(&store.find(id)?.memory()?)?;
    only(&found, "marker", "the guest's memory")
}

/// Everything in hostd's directories: the database, the log, consoles, snapshots, disks.
fn files(scanner: &Scanner, directory: &Path) -> Result {
    let (mut all, mut with_marker) = (Found::new(), Vec::new());
    for path in files_below(directory) {
        let is_file = fs::symlink_metadata(&path).is_ok_and(|data| data.is_file());
        if !is_file {
            continue;
        }
        let found = scanner.file(Path::new(&path))?;
        ensure!(
            found.iter().all(|(what, _)| *what != "secret"),
            "{path}: {found:?}"
        );
        if found.iter().any(|(what, _)| *what == "marker") {
            with_marker.push(path);
        }
        all.extend(found);
    }
    // The database, the log, and a disk are not among those that are looked past.
    for place in ["/log", ".layer", ".db"] {
        ensure!(
            with_marker.iter().any(|path| path.contains(place)),
            "no marker in {place}: {with_marker:?}"
        );
    }
    only(&all, "marker", "hostd's files")
}

/// The marker was found, and no secret.
fn only(found: &Found, marker: &str, place: &str) -> Result {
    let has = |wanted: &str| found.iter().any(|(what, _)| *what == wanted);
    ensure!(has(marker), "{place}: not even the {marker} was found");
    ensure!(!has("secret"), "{place}: {found:?}");
    Ok(())
}
