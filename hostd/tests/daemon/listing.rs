//! Lists: pages, labels, states.

use std::collections::HashMap;

use protocol::hostd::v1::{CreateSandboxRequest, ListSandboxesRequest, SandboxState};
use tonic::Code;

use crate::host::{Host, boot_request};

fn labels(value: &str) -> HashMap<String, String> {
    HashMap::from([("team".to_owned(), value.to_owned())])
}

#[tokio::test]
async fn pages_are_complete_and_stable() {
    let host = Host::start().await;
    let mut made = Vec::new();
    for n in 0..5 {
        let team = if n % 2 == 0 { "even" } else { "odd" };
        made.push(
            host.create(CreateSandboxRequest {
                labels: labels(team),
                ..boot_request("")
            })
            .await
            .unwrap()
            .id,
        );
    }
    made.reverse();
    let mut seen = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListSandboxesRequest {
            page_size: 2,
            page_token,
            ..Default::default()
        };
        let page = host.sandboxes().list(request).await.unwrap().into_inner();
        seen.extend(page.sandboxes.into_iter().map(|sandbox| sandbox.id));
        if seen.len() == 2 {
            // What ends on an earlier page moves nothing.
            host.kill(&seen[0]).await;
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, made);

    let odd = ListSandboxesRequest {
        labels: labels("odd"),
        ..Default::default()
    };
    assert_eq!(
        host.sandboxes()
            .list(odd)
            .await
            .unwrap()
            .into_inner()
            .sandboxes
            .len(),
        2
    );
    let stopped = ListSandboxesRequest {
        states: vec![SandboxState::Stopped.into()],
        ..Default::default()
    };
    assert_eq!(
        host.sandboxes()
            .list(stopped)
            .await
            .unwrap()
            .into_inner()
            .sandboxes[0]
            .id,
        made[0]
    );
    for bad in [
        ListSandboxesRequest {
            page_size: 1001,
            ..Default::default()
        },
        ListSandboxesRequest {
            page_token: "nonsense".into(),
            ..Default::default()
        },
        ListSandboxesRequest {
            states: vec![99],
            ..Default::default()
        },
    ] {
        assert_eq!(
            host.sandboxes().list(bad).await.unwrap_err().code(),
            Code::InvalidArgument
        );
    }
}
