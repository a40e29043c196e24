//! `thaw snapshot`: create, ls, rm.

use clap::{Args, Subcommand};
use protocol::hostd::v1::{
    CreateSnapshotRequest, DeleteSnapshotRequest, ListSnapshotsRequest, Snapshot as Info,
};

use super::kill::each;
use crate::args::pair;
use crate::client::Hostd;
use crate::error::Error;
use crate::{json, output};

#[derive(Debug, Subcommand)]
pub enum Snapshot {
    /// Save a sandbox, which goes on as it was; prints the snapshot's id
    Create(Create),
    /// List snapshots
    Ls(Ls),
    /// Remove snapshots
    Rm(Rm),
}

#[derive(Debug, Args)]
pub struct Create {
    /// The sandbox
    sandbox: String,
    /// Name, unique on the host
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    /// Take the name from the snapshot that has it
    #[arg(long, requires = "name")]
    replace: bool,
    /// Label, to be found by; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub struct Ls {
    /// Only snapshots with this label; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub struct Rm {
    /// Ids or names
    #[arg(required = true)]
    snapshots: Vec<String>,
}

pub async fn run(hostd: &Hostd, command: Snapshot, as_json: bool) -> Result<(), Error> {
    match command {
        Snapshot::Create(command) => create(hostd, command, as_json).await,
        Snapshot::Ls(command) => ls(hostd, command, as_json).await,
        Snapshot::Rm(command) => rm(hostd, command).await,
    }
}

async fn create(hostd: &Hostd, create: Create, as_json: bool) -> Result<(), Error> {
    let request = CreateSnapshotRequest {
        sandbox_id: create.sandbox.clone(),
        name: create.name,
        replace: create.replace,
        labels: create.label.into_iter().collect(),
    };
    let snapshot = hostd
        .snapshots()
        .create(request)
        .await
        .map_err(Error::refused(create.sandbox))?
        .into_inner();
    match as_json {
        true => output::json(&json::snapshot(&snapshot)),
        false => output::line(&snapshot.id),
    }
}

async fn ls(hostd: &Hostd, ls: Ls, as_json: bool) -> Result<(), Error> {
    let mut request = ListSnapshotsRequest {
        labels: ls.label.into_iter().collect(),
        ..ListSnapshotsRequest::default()
    };
    let mut snapshots = Vec::new();
    loop {
        let page = hostd
            .snapshots()
            .list(request.clone())
            .await
            .map_err(Error::refused("snapshots"))?
            .into_inner();
        snapshots.extend(page.snapshots);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    if as_json {
        return output::json(&snapshots.iter().map(json::snapshot).collect());
    }
    let rows: Vec<_> = snapshots.iter().map(row).collect();
    output::table(
        [
            "SNAPSHOT", "NAME", "IMAGE", "VCPUS", "MEMORY", "STORED", "CREATED",
        ],
        &rows,
    )
}

fn row(snapshot: &Info) -> [String; 7] {
    // hostd knows nothing else of a damaged one.
    if snapshot.created_at.is_none() {
        let mut row = <[String; 7]>::default();
        snapshot.id.clone_into(&mut row[0]);
        "(damaged)".clone_into(&mut row[2]);
        return row;
    }
    [
        snapshot.id.clone(),
        snapshot.name.clone(),
        snapshot.image.clone(),
        snapshot.vcpus.to_string(),
        output::size(snapshot.memory_bytes),
        output::size(snapshot.stored_bytes),
        json::time(snapshot.created_at.as_ref()).unwrap_or_default(),
    ]
}

async fn rm(hostd: &Hostd, rm: Rm) -> Result<(), Error> {
    each(&rm.snapshots, async |name| {
        let snapshot = name.clone();
        hostd
            .snapshots()
            .delete(DeleteSnapshotRequest { snapshot })
            .await
    })
    .await
}
