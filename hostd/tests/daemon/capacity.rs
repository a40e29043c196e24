//! Limits of the host.

use futures::future::join_all;
use tonic::Code;
use tonic_types::StatusExt;

use crate::host::{Host, reason};

#[tokio::test]
async fn a_full_host_says_so_and_has_room_again_later() {
    let host = Host::start_with(&["--max-sandboxes", "2"]).await;
    let first = host.boot("").await.unwrap().id;
    host.boot("").await.unwrap();
    let full = host.boot("").await.unwrap_err();
    assert_eq!(
        (full.code(), reason(&full).as_str()),
        (Code::ResourceExhausted, "CAPACITY")
    );
    assert!(full.get_error_details().quota_failure().is_some());
    host.kill(&first).await;
    host.boot("").await.unwrap();
}

#[tokio::test]
async fn many_in_a_row_and_at_once_leave_nothing() {
    let host = Host::start().await;
    for _ in 0..10 {
        let id = host.boot("").await.unwrap().id;
        host.kill(&id).await;
    }
    let all = join_all((0..8).map(|_| host.boot(""))).await;
    join_all(
        all.into_iter()
            .map(|sandbox| async { host.kill(&sandbox.unwrap().id).await }),
    )
    .await;
    host.assert_clean().await;
}
