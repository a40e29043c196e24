//! Tokens: whose things are whose, what each is good for, and its end.

use std::fs;

use futures::{SinkExt as _, StreamExt as _};
use protocol::hostd::v1::*;
use tokio_tungstenite::tungstenite::Message;
use tonic::{Code, Status};

use crate::host::{Host, PATIENCE, boot_request, reason, restore_request};
use crate::house::{House, OPERATOR, Socket, Tenant, options, token};

const ALL: &[TokenScope] = &[TokenScope::Sandboxes, TokenScope::Snapshots];

fn is<T>(result: Result<T, Status>, code: Code, why: &str) {
    match result {
        Ok(_) => panic!("it was done, instead of {why}"),
        Err(status) => assert_eq!((status.code(), reason(&status).as_str()), (code, why)),
    }
}

#[tokio::test]
async fn what_belongs_to_others_is_not_there() {
    let house = House::start().await;
    let acme = house.tenant(token("acme", ALL)).await;
    let other = house.tenant(token("other", ALL)).await;
    let id = acme.boot().await.unwrap().id;
    let own = other.boot().await.unwrap().id;
    let operators = house.host.boot("").await.unwrap().id;
    assert_eq!(acme.get(&id).await.unwrap().organisation, "acme");
    assert_eq!(acme.listed().await, std::slice::from_ref(&id));
    assert_eq!(other.listed().await, [own]);
    assert_eq!(house.with(OPERATOR).await.listed().await.len(), 3);

    let not_there = "SANDBOX_NOT_FOUND";
    is(other.get(&id).await, Code::NotFound, not_there);
    is(other.get(&operators).await, Code::NotFound, not_there);
    is(other.save(&id, "").await, Code::NotFound, not_there);
    let kill = KillSandboxRequest {
        sandbox_id: id.clone(),
    };
    let killed = other.sandboxes().kill(kill.clone()).await;
    is(killed, Code::NotFound, not_there);
    let watch = WatchRequest {
        sandbox_id: id.clone(),
    };
    let watched = other.sandboxes().watch(watch).await;
    is(watched, Code::NotFound, not_there);
    for request in [
        format!("DELETE /api/v3/sandbox/{id}"),
        format!("DELETE /api/v3/sandboxes/{id}"),
        format!("POST /api/v3/sandbox/{id}/expose/ssh"),
    ] {
        let (status, code) = other.rest(&request).await;
        assert!(
            status == 404 || code == "NOT_SUPPORTED",
            "{request}: {status}"
        );
    }
    let connect = format!("/api/v3/sandbox/{id}/connect");
    assert_eq!(other.session(&connect).await.unwrap_err(), 404);
    acme.session(&connect).await.unwrap();

    // Nor when it has ended.
    acme.sandboxes().kill(kill).await.unwrap();
    is(other.get(&id).await, Code::NotFound, not_there);
    assert_eq!(acme.get(&id).await.unwrap().end_reason, "killed");
}

#[tokio::test]
async fn what_comes_of_a_snapshot_is_its_owners_whoever_restores_it() {
    let house = House::start().await;
    let acme = house.tenant(token("acme", ALL)).await;
    let other = house.tenant(token("other", ALL)).await;
    let id = acme.boot().await.unwrap().id;
    acme.save(&id, "web").await.unwrap();
    let operator = house.with(OPERATOR).await;
    let restored = operator
        .sandboxes()
        .create(restore_request("acme:web"))
        .await;
    let looked_into = restored.unwrap().into_inner();
    assert_eq!(looked_into.organisation, "acme");
    let saved = operator.save(&looked_into.id, "copy").await.unwrap();
    assert_eq!(
        (saved.name.as_str(), saved.organisation.as_str()),
        ("acme:copy", "acme")
    );
    is(
        other.snapshot(&saved.id).await,
        Code::NotFound,
        "SNAPSHOT_NOT_FOUND",
    );
    acme.snapshot("copy").await.unwrap();
}

#[tokio::test]
async fn a_sealed_secret_is_its_organisations() {
    let house = House::start().await;
    let acme = house.tenant(token("acme", ALL)).await;
    let other = house.tenant(token("other", ALL)).await;
    let mut networks = networks_client::NetworksClient::new(acme.transport.clone());
    let key = networks.get_sealing_key(GetSealingKeyRequest {}).await;
    let key = key.unwrap().into_inner();
    assert_eq!(key.organisation, "acme");
    let seal = |options: &[&str]| {
        let mut thaw = std::process::Command::new(env!("CARGO_BIN_EXE_thaw"));
        thaw.args(["seal", "API_KEY=KEY@a.example", "--key", &key.public_key]);
        let output = thaw.args(options).env("KEY", "sk-live-123456").output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let (acmes, nobodys) = (seal(&["--organisation", "acme"]), seal(&[]));
    let with = |text: &str| CreateSandboxRequest {
        network: Some(Network {
            secrets: vec![Secret {
                name: "API_KEY".into(),
                material: Some(secret::Material::Sealed(text.trim().into())),
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..boot_request("")
    };
    // Whether there is a network for it is another matter.
    let refused = async |tenant: &Tenant, text: &str| {
        let made = tenant.sandboxes().create(with(text)).await;
        made.is_err_and(|status| {
            status
                .message()
                .contains("not sealed for your organisation")
        })
    };
    assert!(refused(&other, &acmes).await);
    assert!(refused(&other, &nobodys).await);
    assert!(refused(&acme, &nobodys).await);
    assert!(!refused(&acme, &acmes).await);
    assert!(!refused(&house.with(OPERATOR).await, &nobodys).await);
}

#[tokio::test]
async fn watchers_hear_of_their_own_alone() {
    let house = House::start().await;
    let acme = house.tenant(token("acme", ALL)).await;
    let other = house.tenant(token("other", ALL)).await;
    let watched = other.sandboxes().watch(WatchRequest::default()).await;
    let mut events = watched.unwrap().into_inner();
    acme.boot().await.unwrap();
    let own = other.boot().await.unwrap().id;
    let first = tokio::time::timeout(PATIENCE, events.message()).await;
    let first = first.unwrap().unwrap().unwrap();
    assert_eq!(first.sandbox.unwrap().id, own);
}

#[tokio::test]
async fn snapshots_have_names_of_their_organisation() {
    let house = House::start().await;
    let acme = house.tenant(token("acme", ALL)).await;
    let other = house.tenant(token("other", ALL)).await;
    let operator = house.with(OPERATOR).await;
    let common = house.host.boot("").await.unwrap().id;
    let common = operator.save(&common, "base").await.unwrap();
    let id = acme.boot().await.unwrap().id;
    // As long as there is none of one's own, the name is everybody's.
    assert_eq!(acme.snapshot("base").await.unwrap().id, common.id);
    let own = acme.save(&id, "base").await.unwrap();
    assert_eq!(
        (own.name.as_str(), own.organisation.as_str()),
        ("base", "acme")
    );
    assert_eq!(acme.snapshot("base").await.unwrap().id, own.id);
    assert_eq!(other.snapshot("base").await.unwrap().id, common.id);
    is(
        acme.save(&id, "base").await,
        Code::AlreadyExists,
        "SNAPSHOT_NAME_TAKEN",
    );
    is(
        acme.save(&id, "other:base").await,
        Code::InvalidArgument,
        "INVALID_ARGUMENT",
    );

    let not_there = "SNAPSHOT_NOT_FOUND";
    for reference in [own.id.as_str(), "acme:base"] {
        is(other.snapshot(reference).await, Code::NotFound, not_there);
        is(other.delete(reference).await, Code::NotFound, not_there);
        let restored = other.sandboxes().create(restore_request(reference)).await;
        is(restored, Code::NotFound, not_there);
    }
    is(acme.snapshot("acme:base").await, Code::NotFound, not_there);
    assert_eq!(
        operator.snapshot("acme:base").await.unwrap().name,
        "acme:base"
    );
    let mut snapshots = other.snapshots();
    let list = snapshots.list(ListSnapshotsRequest::default()).await;
    let list = list.unwrap().into_inner().snapshots;
    assert_eq!(
        list.iter().map(|one| &one.id).collect::<Vec<_>>(),
        [&common.id]
    );

    // What is everybody's is the operator's to delete.
    is(
        other.delete("base").await,
        Code::PermissionDenied,
        "FORBIDDEN",
    );
    let restored = other.sandboxes().create(restore_request("base")).await;
    assert_eq!(restored.unwrap().into_inner().snapshot_id, common.id);
    acme.delete("base").await.unwrap();
    assert_eq!(acme.snapshot("base").await.unwrap().id, common.id);
}

#[tokio::test]
async fn a_token_is_good_for_its_scopes() {
    let house = House::start().await;
    let user = house.tenant(token("acme", &[TokenScope::Sandboxes])).await;
    let reader = house.tenant(token("acme", &[TokenScope::Read])).await;
    let maker = house.tenant(token("acme", &[TokenScope::Tokens])).await;
    let id = user.boot().await.unwrap().id;
    reader.get(&id).await.unwrap();
    assert_eq!(reader.rest("GET /api/v3/sandboxes").await.0, 200);

    let (denied, why) = (Code::PermissionDenied, "FORBIDDEN");
    is(reader.boot().await, denied, why);
    is(user.save(&id, "").await, denied, why);
    is(maker.get(&id).await, denied, why);
    is(user.known_tokens().await, denied, why);
    let delete = format!("DELETE /api/v3/sandbox/{id}");
    assert_eq!(reader.rest(&delete).await, (403, "FORBIDDEN".into()));
    let connect = format!("/api/v3/sandbox/{id}/connect");
    assert_eq!(reader.session(&connect).await.unwrap_err(), 403);
    let mut host = host_client::HostClient::new(user.transport.clone());
    host.info(InfoRequest {}).await.unwrap();
    is(host.doctor(DoctorRequest {}).await, denied, why);
    let mut networks = networks_client::NetworksClient::new(user.transport.clone());
    let all = networks.watch(WatchNetworkRequest::default()).await;
    is(all, denied, why);

    // No token makes one that can do more, or that is another organisation's.
    for request in [
        token("acme", &[TokenScope::Sandboxes]),
        token("other", &[TokenScope::Tokens]),
    ] {
        is(maker.make(request).await, denied, why);
    }
    for bad in [token("acme", &[]), token("", ALL), token("A", ALL)] {
        let operator = house.with(OPERATOR).await;
        let refused = operator.make(bad).await;
        is(refused, Code::InvalidArgument, "INVALID_ARGUMENT");
    }
}

#[tokio::test]
async fn a_quota_is_given_back_with_the_sandbox() {
    let house = House::start().await;
    let mut request = token("acme", &[TokenScope::Sandboxes, TokenScope::Tokens]);
    request.quota = Some(TokenQuota {
        sandboxes: 1,
        ..Default::default()
    });
    let tenant = house.tenant(request).await;
    // Another token of its own making helps nobody.
    let child = tenant.make(token("", &[TokenScope::Sandboxes])).await;
    let child = house.with(&child.unwrap()).await;
    let id = tenant.boot().await.unwrap().id;
    let (code, why) = (Code::ResourceExhausted, "QUOTA_EXCEEDED");
    is(tenant.boot().await, code, why);
    is(child.boot().await, code, why);
    let list = tenant.known_tokens().await.unwrap();
    assert_eq!(
        (list.len(), list[0].sandboxes, list[1].sandboxes),
        (2, 1, 0)
    );
    assert!(list[0].memory_bytes > 0);
    house.host.kill(&id).await;
    house.host.end_of(&id).await;
    let id = child.boot().await.unwrap().id;
    is(tenant.boot().await, code, why);

    let operator = house.with(OPERATOR).await;
    let saved = house.host.boot("").await.unwrap().id;
    operator.save(&saved, "default").await.unwrap();
    assert_eq!(
        tenant
            .session("/api/v3/sandboxes/create")
            .await
            .unwrap_err(),
        429
    );
    house.host.kill(&id).await;
    house.host.end_of(&id).await;
    tenant.session("/api/v3/sandboxes/create").await.unwrap();
}

#[tokio::test]
async fn a_session_has_the_memory_that_it_asks_for() {
    let house = House::start().await;
    let tenant = house.tenant(token("acme", ALL)).await;
    let saved = house.host.boot("").await.unwrap();
    let operator = house.with(OPERATOR).await;
    operator.save(&saved.id, "default").await.unwrap();
    let mib = saved.memory_bytes >> 20;
    for (config, mib) in [
        ("{}".to_owned(), mib),
        // What the Python SDK sends when nobody asks.
        (r#"{"memory_mb": 1280}"#.to_owned(), mib),
        (r#"{"memory_mb": 1}"#.to_owned(), mib),
        (format!(r#"{{"memory_mb": {}}}"#, mib + 1), mib + 2),
    ] {
        let session = tenant.session_of("/api/v3/sandboxes/create", &config).await;
        let ids = tenant.listed().await;
        assert_eq!(ids.len(), 1);
        let sandbox = tenant.get(&ids[0]).await.unwrap();
        assert_eq!(sandbox.memory_bytes >> 20, mib, "{config}");
        drop(session.unwrap());
        house.host.end_of(&ids[0]).await;
    }
    let config = format!(
        r#"{{"memory_mb": {}, "root": {{"volume": "default"}}}}"#,
        mib + 1
    );
    let refused = tenant.session_of("/api/v3/sandboxes/create", &config).await;
    assert_eq!(refused.unwrap_err(), 400);
}

#[tokio::test]
async fn a_revoked_token_ends_its_sessions_and_its_children() {
    let house = House::start().await;
    let tenant = house
        .tenant(token("acme", &[TokenScope::Sandboxes, TokenScope::Tokens]))
        .await;
    let child = tenant.make(token("", &[TokenScope::Sandboxes])).await;
    let child = house.with(&child.unwrap()).await;
    let bystander = house.tenant(token("acme", ALL)).await;
    let id = child.boot().await.unwrap().id;
    let connect = format!("/api/v3/sandbox/{id}/connect");
    let mut session = child.session(&connect).await.unwrap();
    session.send(Message::text("{\"hello\":1}")).await.unwrap();
    let echo = answer(&mut session).await;
    assert_eq!(echo, Message::text("{\"hello\":1}"));
    let watched = child.sandboxes().watch(WatchRequest::default()).await;
    let mut events = watched.unwrap().into_inner();

    let list = tokens_of(&house).await;
    let revoke = |id: String| async {
        let operator = house.with(OPERATOR).await;
        operator.tokens().revoke(RevokeTokenRequest { id }).await
    };
    revoke(list[0].id.clone()).await.unwrap();
    let Message::Close(Some(close)) = answer(&mut session).await else {
        panic!("it goes on")
    };
    assert_eq!(u16::from(close.code), 1008);
    assert!(close.reason.contains("revoked"), "{}", close.reason);
    let end = tokio::time::timeout(PATIENCE, async {
        while events.message().await?.is_some() {}
        Ok(())
    });
    is(end.await.unwrap(), Code::Unauthenticated, "UNAUTHENTICATED");
    is(child.boot().await, Code::Unauthenticated, "UNAUTHENTICATED");
    is(
        tenant.boot().await,
        Code::Unauthenticated,
        "UNAUTHENTICATED",
    );
    assert_eq!(
        child.rest("GET /api/v3/sandboxes").await,
        (401, "INVALID_TOKEN".into())
    );
    // The sandbox is the organisation's.
    bystander.get(&id).await.unwrap();
    assert_eq!(tokens_of(&house).await.len(), 1);
    is(
        revoke(list[0].id.clone()).await,
        Code::NotFound,
        "TOKEN_NOT_FOUND",
    );
    is(revoke("x".into()).await, Code::NotFound, "TOKEN_NOT_FOUND");
}

#[tokio::test]
async fn who_revokes_its_own_token_is_told() {
    let house = House::start().await;
    let tenant = house.tenant(token("acme", &[TokenScope::Tokens])).await;
    let [own] = &tokens_of(&house).await[..] else {
        panic!("there is one")
    };
    let revoke = || {
        let id = own.id.clone();
        let tenant = &tenant;
        async move { tenant.tokens().revoke(RevokeTokenRequest { id }).await }
    };
    revoke().await.unwrap();
    is(revoke().await, Code::Unauthenticated, "UNAUTHENTICATED");
}

async fn answer(session: &mut Socket) -> Message {
    loop {
        let message = tokio::time::timeout(PATIENCE, session.next()).await;
        match message.unwrap().unwrap().unwrap() {
            Message::Ping(_) => {}
            other => return other,
        }
    }
}

async fn tokens_of(house: &House) -> Vec<Token> {
    let operator = house.with(OPERATOR).await;
    operator.known_tokens().await.unwrap()
}

#[tokio::test]
async fn tokens_outlive_hostd_but_not_their_time_and_are_nowhere_in_the_clear() {
    let house = House::start().await;
    let tenant = house.tenant(token("acme", ALL)).await;
    let mut brief = token("acme", ALL);
    let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(2);
    brief.expires_at = Some(soon.into());
    let brief = house.tenant(brief).await;
    brief.boot().await.unwrap();
    let temp = house.host.crash().await;
    let secret = tenant.secret.as_bytes();
    for file in fs::read_dir(temp.path().join("state")).unwrap() {
        let path = file.unwrap().path();
        let bytes = fs::read(&path).unwrap_or_default();
        let found = bytes.windows(secret.len()).any(|window| window == secret);
        assert!(!found, "{}", path.display());
    }
    let file = house.files.path().join("token");
    let host = Host::start_in(temp, &options(file.to_str().unwrap())).await;
    let house = House {
        host,
        files: house.files,
    };
    let tenant = house.with(&tenant.secret).await;
    let id = tenant.boot().await.unwrap().id;
    assert_eq!(tenant.get(&id).await.unwrap().organisation, "acme");
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let brief = house.with(&brief.secret).await;
    is(brief.boot().await, Code::Unauthenticated, "UNAUTHENTICATED");
}
