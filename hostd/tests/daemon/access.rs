//! Who may call, and the services that every gRPC server has.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use protocol::hostd::v1::InfoRequest;
use protocol::hostd::v1::host_client::HostClient;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::host::{Host, command, socket};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

async fn tcp(host: &Host) -> Channel {
    let address = host
        .addresses
        .iter()
        .find_map(|address| address.strip_prefix("tcp:"))
        .unwrap();
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

fn with_token(token: &str) -> Request<InfoRequest> {
    let mut request = Request::new(InfoRequest {});
    request.metadata_mut().insert(
        "authorization",
        MetadataValue::try_from(format!("Bearer {token}")).unwrap(),
    );
    request
}

#[tokio::test]
async fn tcp_needs_the_token_and_the_unix_socket_its_permissions() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), format!("{TOKEN}\n")).unwrap();
    let host = Host::start_with(&[
        "--listen",
        "tcp:127.0.0.1:0",
        "--token-file",
        file.path().to_str().unwrap(),
    ])
    .await;
    let mut client = HostClient::new(tcp(&host).await);
    assert_eq!(
        client.info(InfoRequest {}).await.unwrap_err().code(),
        Code::Unauthenticated
    );
    assert_eq!(
        client.info(with_token("wrong")).await.unwrap_err().code(),
        Code::Unauthenticated
    );
    let info = client.info(with_token(TOKEN)).await.unwrap().into_inner();
    assert_eq!(
        (info.version.as_str(), info.images),
        (hostd::VERSION, vec!["tiny".to_owned()])
    );

    host.host().info(InfoRequest {}).await.unwrap();
    assert_eq!(
        fs::metadata(socket(host.temp.path()))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );

    let mut health = HealthClient::new(tcp(&host).await);
    let status = health
        .check(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        status.status(),
        tonic_health::pb::health_check_response::ServingStatus::Serving
    );
}

#[tokio::test]
async fn an_open_tcp_listener_is_refused_with_advice() {
    let host = Host::start().await;
    let temp = host.stop().await;
    let output = command(temp.path(), &["--listen", "tcp:127.0.0.1:0"])
        .stderr(Stdio::piped())
        .output()
        .await
        .unwrap();
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("--token-file"), "{message}");
}

#[tokio::test]
async fn reflection_knows_our_services() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let host = Host::start().await;
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(host.channel.clone())
        .server_reflection_info(futures::stream::iter([ask]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers
        .message()
        .await
        .unwrap()
        .unwrap()
        .message_response
        .unwrap();
    let MessageResponse::ListServicesResponse(services) = answer else {
        panic!("{answer:?}")
    };
    assert!(
        services
            .service
            .iter()
            .any(|service| service.name == "thaw.hostd.v1.Sandboxes")
    );
    assert!(
        !services
            .service
            .iter()
            .any(|service| service.name.starts_with("thaw.agent"))
    );
}

#[tokio::test]
async fn the_doctor_measures_and_advises() {
    let host = Host::start().await;
    let report = host
        .host()
        .doctor(protocol::hostd::v1::DoctorRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(!report.healthy, "the fake's KVM is unfit");
    let kvm = report
        .checks
        .iter()
        .find(|check| check.requirement.contains("KVM"))
        .unwrap();
    assert!(
        kvm.found.contains("a fake") && !kvm.remedy.is_empty(),
        "{kvm:?}"
    );
    let image = report
        .checks
        .iter()
        .find(|check| check.requirement.contains("image"))
        .unwrap();
    assert_eq!(image.found, "tiny");
}
