//! Saving and restoring.

use std::fs;

use futures::future::join_all;
use protocol::hostd::v1::{
    CreateSnapshotRequest, DeleteSnapshotRequest, GetSnapshotRequest, ListSnapshotsRequest,
    PauseSandboxRequest, SandboxState, Snapshot,
};
use tonic::{Code, Status};

use crate::host::{Host, reason, restore_request};
use crate::streams::exec;

async fn take(host: &Host, id: &str, name: &str) -> Result<Snapshot, Status> {
    let request = CreateSnapshotRequest {
        sandbox_id: id.into(),
        name: name.into(),
        ..Default::default()
    };
    host.snapshots()
        .create(request)
        .await
        .map(tonic::Response::into_inner)
}

#[tokio::test]
async fn a_running_sandbox_is_saved_and_goes_on() {
    let host = Host::start().await;
    let id = host.boot("").await.unwrap().id;
    let taken = take(&host, &id, "base").await.unwrap();
    assert_eq!(
        (
            taken.name.as_str(),
            taken.image.as_str(),
            taken.sandbox_id.as_str()
        ),
        ("base", "tiny", id.as_str())
    );
    assert!(taken.paused_nanos > 0 && taken.stored_bytes > 0);
    assert_eq!(host.get(&id).await.state(), SandboxState::Running);
    exec(&host, &id, "exit", &["0"]).await.unwrap();

    let clones = join_all((0..4).map(|_| host.create(restore_request("base")))).await;
    let mut epochs = std::collections::BTreeSet::new();
    for clone in clones {
        let clone = clone.unwrap();
        assert_eq!(clone.snapshot_id, taken.id);
        exec(&host, &clone.id, "exit", &["0"]).await.unwrap();
        let stages: Vec<&str> = clone
            .create_stages
            .iter()
            .map(|stage| stage.name.as_str())
            .collect();
        assert_eq!(
            stages,
            [
                "template",
                "spawn_vmm",
                "restore.map",
                "restore",
                "resume",
                "agent_connect",
                "barrier"
            ]
        );
        epochs.insert(clone.epoch);
    }
    assert_eq!(epochs.len(), 4, "no epoch twice");
}

#[tokio::test]
async fn a_paused_sandbox_is_saved_and_stays_paused() {
    let host = Host::start().await;
    let id = host.boot("").await.unwrap().id;
    host.sandboxes()
        .pause(PauseSandboxRequest {
            sandbox_id: id.clone(),
        })
        .await
        .unwrap();
    let taken = take(&host, &id, "").await.unwrap();
    assert_eq!(host.get(&id).await.state(), SandboxState::Paused);
    let clone = host.create(restore_request(&taken.id)).await.unwrap();
    exec(&host, &clone.id, "exit", &["0"]).await.unwrap();
}

#[tokio::test]
async fn a_save_that_fails_leaves_nothing_and_the_sandbox_running() {
    let host = Host::start().await;
    for trouble in ["save-fails", "freeze-fails"] {
        let id = host.boot(trouble).await.unwrap().id;
        take(&host, &id, "x").await.unwrap_err();
        assert_eq!(host.get(&id).await.state(), SandboxState::Running);
        exec(&host, &id, "exit", &["0"]).await.unwrap();
    }
    let listed = host
        .snapshots()
        .list(ListSnapshotsRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(listed.snapshots.is_empty());
    let left: Vec<_> = fs::read_dir(host.state_dir().join("snapshots"))
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().contains("snp_"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_guest_that_is_busy_with_files_is_waited_for() {
    let host = Host::start().await;
    let id = host.boot("freeze-busy").await.unwrap().id;
    take(&host, &id, "base").await.unwrap();
    exec(&host, &id, "exit", &["0"]).await.unwrap();
}

#[tokio::test]
async fn names_are_unique_and_can_be_taken_over() {
    let host = Host::start().await;
    let id = host.boot("").await.unwrap().id;
    let first = take(&host, &id, "base").await.unwrap();
    let refused = take(&host, &id, "base").await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::AlreadyExists, "SNAPSHOT_NAME_TAKEN")
    );
    let request = CreateSnapshotRequest {
        sandbox_id: id.clone(),
        name: "base".into(),
        replace: true,
        ..Default::default()
    };
    let second = host.snapshots().create(request).await.unwrap().into_inner();
    let named = host
        .snapshots()
        .get(GetSnapshotRequest {
            snapshot: "base".into(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(named.id, second.id);
    assert_eq!(
        take(&host, &id, "Not A Name").await.unwrap_err().code(),
        Code::InvalidArgument
    );

    let page = ListSnapshotsRequest {
        page_size: 1,
        ..Default::default()
    };
    let page = host.snapshots().list(page).await.unwrap().into_inner();
    assert_eq!(page.snapshots[0].id, second.id, "newest first");
    let next = ListSnapshotsRequest {
        page_size: 1,
        page_token: page.next_page_token,
        ..Default::default()
    };
    let next = host.snapshots().list(next).await.unwrap().into_inner();
    assert_eq!(
        (next.snapshots[0].id.as_str(), next.next_page_token.as_str()),
        (first.id.as_str(), "")
    );
}

#[tokio::test]
async fn a_deleted_snapshot_is_gone_but_its_sandboxes_are_not() {
    let host = Host::start().await;
    let id = host.boot("").await.unwrap().id;
    let taken = take(&host, &id, "base").await.unwrap();
    let clone = host.create(restore_request("base")).await.unwrap();
    host.snapshots()
        .delete(DeleteSnapshotRequest {
            snapshot: "base".into(),
        })
        .await
        .unwrap();
    for reference in ["base", &taken.id, "../../etc/passwd"] {
        let missing = host.create(restore_request(reference)).await.unwrap_err();
        assert_eq!(
            (missing.code(), reason(&missing).as_str()),
            (Code::NotFound, "SNAPSHOT_NOT_FOUND")
        );
    }
    exec(&host, &clone.id, "exit", &["0"]).await.unwrap();
    take(&host, &clone.id, "again").await.unwrap();
    host.create(restore_request("again")).await.unwrap();
}

#[tokio::test]
async fn damage_is_told_by_part() {
    let host = Host::start().await;
    let id = host.boot("").await.unwrap().id;
    for (file, part) in [
        ("manifest.json", "manifest"),
        ("memory", "memory"),
        ("state", "state"),
        ("disk-1.bitmap", "disk"),
    ] {
        let taken = take(&host, &id, "").await.unwrap();
        let path = host
            .state_dir()
            .join("snapshots")
            .join(&taken.id)
            .join(file);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(&path, bytes).unwrap();
        let status = host.create(restore_request(&taken.id)).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::DataLoss, "SNAPSHOT_DAMAGED"),
            "{file}: {status:?}"
        );
        let details = tonic_types::StatusExt::get_error_details(&status);
        assert_eq!(
            details.error_info().unwrap().metadata["part"],
            part,
            "{file}"
        );
        // Damaged as it is, it can be seen and deleted.
        let listed = host.snapshots().list(ListSnapshotsRequest::default()).await;
        let listed = listed.unwrap().into_inner().snapshots;
        assert_eq!(listed[0].id, taken.id);
        assert_eq!(
            listed[0].created_at.is_none(),
            part == "manifest",
            "{file}: {listed:?}"
        );
        let request = DeleteSnapshotRequest {
            snapshot: taken.id.clone(),
        };
        host.snapshots().delete(request).await.unwrap();
        assert!(!path.exists(), "{file}");
    }
    host.kill(&id).await;
    host.assert_clean().await;
}

#[tokio::test]
async fn a_cpu_that_lacks_features_is_told() {
    let host = Host::start().await;
    for told_by in ["manifest", "state"] {
        let request = protocol::hostd::v1::CreateSandboxRequest {
            extra_cmdline: format!("needs-cpu-in-{told_by}"),
            ..crate::host::boot_request("")
        };
        let id = host.create(request).await.unwrap().id;
        let taken = take(&host, &id, "").await.unwrap();
        let status = host.create(restore_request(&taken.id)).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(reason(&status), "SNAPSHOT_INCOMPATIBLE");
        assert!(status.message().contains("avx1024"), "{status:?}");
    }
}
