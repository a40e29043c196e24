//! What sandboxes are made from, when it is not there or cannot be.

use std::fs;

use protocol::hostd::v1::CreateSandboxRequest;
use protocol::hostd::v1::create_sandbox_request::Source;
use tonic::Code;

use crate::host::{Host, boot_request, reason};

#[tokio::test]
async fn impossible_requests_are_refused_before_anything_is_made() {
    let host = Host::start().await;
    let requests = [
        CreateSandboxRequest::default(),
        CreateSandboxRequest {
            vcpus: 9,
            ..boot_request("")
        },
        CreateSandboxRequest {
            memory_bytes: 1 << 50,
            ..boot_request("")
        },
        CreateSandboxRequest {
            memory_bytes: (64 << 20) + 4096,
            ..boot_request("")
        },
        CreateSandboxRequest {
            hostname: "not_a_label".into(),
            ..boot_request("")
        },
        CreateSandboxRequest {
            source: Some(Source::Snapshot("x".into())),
            vcpus: 2,
            ..Default::default()
        },
        CreateSandboxRequest {
            timeout: Some(prost_types::Duration {
                seconds: -1,
                nanos: 0,
            }),
            ..boot_request("")
        },
    ];
    for request in requests {
        let status = host.create(request.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{request:?}");
    }
    for name in ["none", "../tiny", ""] {
        let status = host
            .create(CreateSandboxRequest {
                source: Some(Source::Image(name.into())),
                ..Default::default()
            })
            .await
            .unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::NotFound, "IMAGE_NOT_FOUND"),
            "{name}"
        );
    }
    host.assert_clean().await;
}

#[tokio::test]
async fn an_image_that_was_cut_is_refused() {
    let host = Host::start().await;
    fs::write(host.temp.path().join("images/tiny/root.erofs"), "short").unwrap();
    let status = host.boot("").await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::FailedPrecondition, "IMAGE_UNUSABLE")
    );
    host.assert_clean().await;
}
