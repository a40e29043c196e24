//! The command line, where it meets trouble.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::hostd::v1::{CreateSnapshotRequest, GetSealingKeyRequest, ListSandboxesRequest};
use tokio::process::Command;

use crate::host::{Host, PATIENCE, socket};

fn thaw(endpoint: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thaw"));
    command
        .arg("--endpoint")
        .arg(format!("unix:{}", endpoint.display()))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn output(endpoint: &Path, args: &[&str]) -> Output {
    let output = thaw(endpoint, args).output();
    tokio::time::timeout(PATIENCE, output)
        .await
        .expect("thaw does not end")
        .unwrap()
}

async fn living(host: &Host) -> usize {
    let request = ListSandboxesRequest::default();
    let listed = host.sandboxes().list(request).await.unwrap();
    listed.into_inner().sandboxes.len()
}

async fn becomes(host: &Host, count: usize) {
    let started = Instant::now();
    while living(host).await != count {
        assert!(started.elapsed() < PATIENCE, "not {count} sandboxes");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_second_signal_ends_a_run_that_still_creates() {
    let host = Host::start().await;
    silence_image(&host);
    let mut run = thaw(
        &socket(host.temp.path()),
        &["run", "--image", "tiny", "true"],
    )
    .spawn()
    .unwrap();
    becomes(&host, 1).await;
    let pid = Pid::from_raw(i32::try_from(run.id().unwrap()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(
        run.try_wait().unwrap().is_none(),
        "the first signal ended it"
    );
    kill(pid, Signal::SIGINT).unwrap();
    let ended = tokio::time::timeout(PATIENCE, run.wait()).await;
    assert_eq!(ended.expect("it does not end").unwrap().code(), Some(130));
    becomes(&host, 0).await;
    host.assert_clean().await;
}

/// From now on the image's guests come up without an agent that speaks.
fn silence_image(host: &Host) {
    let file = host.temp.path().join("images/tiny/image.json");
    let description = fs::read_to_string(&file).unwrap();
    let silent = description.replace("console=ttyS0", "console=ttyS0 fake=silent");
    fs::write(&file, silent).unwrap();
}

#[tokio::test]
async fn damaged_snapshots_are_listed_and_removed() {
    let host = Host::start().await;
    let sandbox_id = host.boot("").await.unwrap().id;
    let request = CreateSnapshotRequest {
        sandbox_id,
        ..Default::default()
    };
    let id = host
        .snapshots()
        .create(request)
        .await
        .unwrap()
        .into_inner()
        .id;
    let manifest = host
        .state_dir()
        .join("snapshots")
        .join(&id)
        .join("manifest.json");
    fs::remove_file(manifest).unwrap();

    let socket = socket(host.temp.path());
    let listed = output(&socket, &["snapshot", "ls"]).await;
    let listed = String::from_utf8(listed.stdout).unwrap();
    let is_it = |line: &&str| line.contains(&id) && line.contains("(damaged)");
    assert!(listed.lines().any(|line| is_it(&line)), "{listed}");
    assert!(
        output(&socket, &["snapshot", "rm", &id])
            .await
            .status
            .success()
    );
    let listed = output(&socket, &["snapshot", "ls"]).await;
    assert!(!String::from_utf8(listed.stdout).unwrap().contains(&id));
}

#[tokio::test]
async fn tokens_are_made_listed_and_revoked() {
    let host = Host::start().await;
    let socket = socket(host.temp.path());
    let text = |output: Output| {
        let said = String::from_utf8(output.stdout).unwrap();
        (output.status.success(), said.trim().to_owned())
    };
    let create = ["token", "create", "--organisation", "acme", "--name", "ci"];
    let limits = [
        "--max-sandboxes",
        "3",
        "--max-memory",
        "2G",
        "--expires-in",
        "1h",
    ];
    let (made, secret) = text(output(&socket, &[&create[..], &limits[..]].concat()).await);
    assert!(made && secret.starts_with("ddo_") && secret.len() == 72);
    let (_, table) = text(output(&socket, &["token", "ls"]).await);
    let row = table.lines().nth(1).unwrap();
    for word in ["acme", "ci", "sandboxes,snapshots", "0 of 3", "of 2"] {
        assert!(row.contains(word), "{word}: {row}");
    }
    assert!(!table.contains(&secret));
    let (_, json) = text(output(&socket, &["--json", "token", "ls"]).await);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json[0]["quota"]["sandboxes"], &json[0]["parent"]),
        (&3.into(), &().into())
    );
    let id = json[0]["id"].as_str().unwrap();
    assert!(text(output(&socket, &["token", "revoke", id]).await).0);
    assert!(!text(output(&socket, &["token", "revoke", id]).await).0);
    assert_eq!(
        text(output(&socket, &["token", "ls"]).await)
            .1
            .lines()
            .count(),
        1
    );
    // Whose it is has to be said by the operator.
    let nobodys = output(&socket, &["token", "create"]).await;
    let told = String::from_utf8(nobodys.stderr).unwrap();
    assert!(told.contains("organisation"), "{told}");
}

#[tokio::test]
async fn the_doctor_says_that_there_is_no_hostd() {
    let examined = output(Path::new("/no/such"), &["doctor"]).await;
    assert_eq!(examined.status.code(), Some(1));
    let report = String::from_utf8(examined.stdout).unwrap();
    assert!(report.contains("cannot reach hostd"), "{report}");
}

#[tokio::test]
async fn what_is_sealed_is_sealed_for_this_host_across_its_starts() {
    let host = Host::start().await;
    let socket = socket(host.temp.path());
    let seal = |secret: &str, key: Option<String>| {
        let mut command = thaw(&socket, &["seal", secret]);
        command.env("KEY", "sk-live-123456").env("SHORT", "x");
        command.args(key.iter().flat_map(|key| ["--key", key]));
        async move { command.output().await.unwrap() }
    };
    let one = seal("API_KEY=KEY@a.example", None).await;
    let text = String::from_utf8(one.stdout).unwrap();
    assert!(
        one.status.success() && text.starts_with("thaw-sealed-1."),
        "{text}"
    );
    for bad in ["API_KEY=SHORT@a.example", "API_KEY=KEY@*", "=KEY@a.example"] {
        let refused = seal(bad, None).await;
        assert!(
            !refused.status.success() && refused.stdout.is_empty(),
            "{bad}"
        );
        assert!(
            !String::from_utf8(refused.stderr)
                .unwrap()
                .contains("123456")
        );
    }

    let key = |host: &Host| {
        let mut networks = host.networks();
        async move {
            let answer = networks.get_sealing_key(GetSealingKeyRequest {}).await;
            answer.unwrap().into_inner().public_key
        }
    };
    let first = key(&host).await;
    let host = Host::start_in(host.stop().await, &[]).await;
    assert_eq!(key(&host).await, first);

    let temp = host.stop().await;
    let offline = seal("API_KEY=KEY@a.example", Some(first)).await;
    assert!(offline.status.success());
    let refused = seal("API_KEY=KEY@a.example", Some("thaw-key-1.x".into())).await;
    assert!(!refused.status.success());
    drop(temp);
}
