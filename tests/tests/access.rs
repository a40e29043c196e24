//! Who may call, and what a stranger's tools find: tokens, health, reflection, doctor.
#![allow(missing_docs)]

use std::net::TcpListener;
use std::sync::Arc;

use anyhow::{Context, ensure};
use protocol::hostd::v1::{DoctorRequest, InfoRequest, check::Verdict};
use tests::host::HostOptions;
use tests::products::Products;
use tests::refusal::code_of;
use tests::{Clients, Host, Result, suite};
use tonic::{Code, Request};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

suite!(
    tcp_needs_the_token,
    tcp_without_a_token_does_not_start,
    health,
    reflection_names_every_service,
    the_doctor_finds_this_host_fit,
    info_is_about_this_host,
);

const TOKEN: &str = "a-token-of-at-least-sixteen-bytes";

async fn tcp_needs_the_token(_: Arc<Host>) -> Result {
    let files = tempfile::tempdir()?;
    let token_file = files.path().join("token");
    std::fs::write(&token_file, format!("{TOKEN}\n"))?;
    let address = free_address()?;
    let mut options = HostOptions::new(Products::find()?)?;
    options.extra = vec!["--listen".into(), format!("tcp:{address}").into()];
    options
        .extra
        .extend(["--token-file".into(), token_file.into()]);
    let host = Host::start(options).await?;
    let clients = Clients::connect(&format!("http://{address}")).await?;
    for (header, accepted) in [
        (None, false),
        (
            Some("Bearer wrong-token-of-sixteen-bytes".to_owned()),
            false,
        ),
        (Some(TOKEN.to_owned()), false),
        (Some(format!("Bearer {TOKEN}")), true),
    ] {
        let mut request = Request::new(InfoRequest {});
        if let Some(header) = &header {
            request
                .metadata_mut()
                .insert("authorization", header.parse()?);
        }
        let answer = clients.host().info(request).await;
        match accepted {
            true => drop(answer?),
            false => drop(code_of(answer, Code::Unauthenticated).context(format!("{header:?}"))?),
        }
    }
    host.stop().await
}

/// A port that was free a moment ago.
fn free_address() -> Result<std::net::SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

async fn tcp_without_a_token_does_not_start(_: Arc<Host>) -> Result {
    let mut options = HostOptions::new(Products::find()?)?;
    options.extra = vec!["--listen".into(), format!("tcp:{}", free_address()?).into()];
    let error = Host::start(options).await.err().context("it started")?;
    ensure!(format!("{error:#}").contains("--token-file"), "{error:#}");
    Ok(())
}

async fn health(host: Arc<Host>) -> Result {
    let mut client = HealthClient::new(host.clients().channel());
    for service in ["", "thaw.hostd.v1.Sandboxes"] {
        let service = service.to_owned();
        let answer = client
            .check(HealthCheckRequest { service })
            .await?
            .into_inner();
        ensure!(answer.status() == ServingStatus::Serving, "{answer:?}");
    }
    Ok(())
}

async fn reflection_names_every_service(host: Arc<Host>) -> Result {
    let mut client = ServerReflectionClient::new(host.clients().channel());
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let stream = tokio_stream::once(request);
    let mut answers = client.server_reflection_info(stream).await?.into_inner();
    let answer = answers
        .message()
        .await?
        .and_then(|answer| answer.message_response);
    let Some(MessageResponse::ListServicesResponse(list)) = answer else {
        anyhow::bail!("{answer:?}")
    };
    let names: Vec<&str> = list
        .service
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    for service in ["Sandboxes", "Processes", "Files", "Snapshots", "Host"] {
        let name = format!("thaw.hostd.v1.{service}");
        ensure!(names.contains(&name.as_str()), "{name} is not in {names:?}");
    }
    // What is between hostd and its guests is nobody else's business.
    ensure!(
        !names.iter().any(|name| name.starts_with("thaw.agent")),
        "{names:?}"
    );
    Ok(())
}

async fn the_doctor_finds_this_host_fit(host: Arc<Host>) -> Result {
    let report = host
        .clients()
        .host()
        .doctor(DoctorRequest {})
        .await?
        .into_inner();
    ensure!(report.healthy && !report.checks.is_empty(), "{report:#?}");
    for check in report.checks {
        ensure!(
            !check.requirement.is_empty() && !check.found.is_empty(),
            "{check:?}"
        );
        ensure!(
            check.verdict() == Verdict::Ok || !check.remedy.is_empty(),
            "{check:?}"
        );
    }
    Ok(())
}

async fn info_is_about_this_host(host: Arc<Host>) -> Result {
    let sandbox = host.create().await?;
    let info = host
        .clients()
        .host()
        .info(InfoRequest {})
        .await?
        .into_inner();
    ensure!(info.sandboxes_running == 1, "{info:?}");
    ensure!(info.images.contains(&"default".to_owned()), "{info:?}");
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    ensure!(info.kernel_release == release.trim(), "{info:?}");
    sandbox.kill().await?;
    Ok(())
}
