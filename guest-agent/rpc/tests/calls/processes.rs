use std::sync::Arc;
use std::time::Duration;

use sandbox_rpc::Shared;
use serde_json::{Value, json};

use crate::client::Client;

fn shell(script: &str) -> Value {
    json!({"command": "sh", "args": ["-c", script], "stdout": "piped", "stderr": "piped"})
}

async fn run(client: &mut Client, asked: Value) -> (Value, String, String) {
    let spawned = client.call("spawn", asked).await;
    let status = client
        .call("processWait", json!({"pid": spawned["pid"]}))
        .await;
    let out = client.bytes(&spawned["stdoutStreamId"]).await;
    let err = client.bytes(&spawned["stderrStreamId"]).await;
    (
        status,
        String::from_utf8(out).unwrap(),
        String::from_utf8(err).unwrap(),
    )
}

#[tokio::test]
async fn a_program_runs_and_ends() {
    let mut client = Client::new();
    let (status, out, err) = run(&mut client, shell("echo out; echo err >&2; exit 3")).await;
    assert_eq!(
        status,
        json!({"success": false, "code": 3, "signal": null, "oom": null})
    );
    assert_eq!((&out[..], &err[..]), ("out\n", "err\n"));
    let mut asked = shell("pwd; echo $X; env | wc -l");
    asked["cwd"] = json!("/");
    asked["env"] = json!({"X": "y"});
    asked["clearEnv"] = json!(true);
    let (status, out, _) = run(&mut client, asked).await;
    assert_eq!(status["success"], true);
    assert!(out.starts_with("/\ny\n"), "{out}");
    let nothing = json!({"command": "true", "stdout": "null", "stderr": "null"});
    let spawned = client.call("spawn", nothing).await;
    assert_eq!(
        (&spawned["stdoutStreamId"], &spawned["stderrStreamId"]),
        (&Value::Null, &Value::Null)
    );
    for _ in 0..2 {
        let status = client
            .call("processWait", json!({"pid": spawned["pid"]}))
            .await;
        assert_eq!(status["code"], 0);
    }
    let error = client
        .fails(
            "spawn",
            json!({"command": "no-such-program", "stdout": "null", "stderr": "null"}),
        )
        .await;
    assert_eq!(
        (&error["constructorName"], &error["code"]),
        (&json!("NotFound"), &json!("ENOENT"))
    );
}

#[tokio::test]
async fn output_comes_when_it_is_waited_for_or_after_a_while() {
    let mut client = Client::new();
    let spawned = client.call("spawn", shell("echo early")).await;
    // Nobody waits for the program: its output is there all the same.
    let out = client.bytes(&spawned["stdoutStreamId"]).await;
    assert_eq!(out, b"early\n");
}

#[tokio::test]
async fn what_is_streamed_in_comes_out() {
    let mut client = Client::new();
    client
        .notify("$sandbox.stream.start", json!({"streamId": 3}))
        .await;
    let asked = json!({"command": "cat", "stdinStreamId": 3, "stdout": "piped", "stderr": "null"});
    let spawned = client.call("spawn", asked).await;
    let piece = vec![b'x'; 100_000];
    client.stream(3, &[]).await;
    let none = client.bytes(&spawned["stdoutStreamId"]).await;
    assert!(none.is_empty());
    let pieces: Vec<&[u8]> = (0..50).map(|_| &piece[..]).collect();
    client.stream(4, &pieces).await;
    let asked = json!({"command": "cat", "stdinStreamId": 4, "stdout": "piped", "stderr": "null"});
    let spawned = client.call("spawn", asked).await;
    let waiting = client
        .begin("processWait", json!({"pid": spawned["pid"]}))
        .await;
    let out = client.bytes(&spawned["stdoutStreamId"]).await;
    assert_eq!(out.len(), 5_000_000);
    assert_eq!(client.answer(waiting).await["result"]["ok"]["code"], 0);
}

#[tokio::test]
async fn signals_arrive_and_are_told() {
    let mut client = Client::new();
    for (signal, name, code) in [
        (None, "SIGTERM", 143),
        (Some("SIGKILL"), "SIGKILL", 137),
        (Some("SIGINT"), "SIGINT", 130),
    ] {
        let spawned = client
            .call(
                "spawn",
                json!({"command": "sleep", "args": ["60"], "stdout": "null", "stderr": "null"}),
            )
            .await;
        let pid = &spawned["pid"];
        client
            .call("processKill", json!({"pid": pid, "signal": signal}))
            .await;
        let status = client.call("processWait", json!({"pid": pid})).await;
        assert_eq!(
            status,
            json!({"success": false, "code": code, "signal": name, "oom": null})
        );
        // As the Python SDK knows it.
        let error = client.fails("processKill", json!({"pid": pid})).await;
        assert_eq!(
            (&error["constructorName"], &error["code"]),
            (&json!("TypeError"), &json!("ENOENT"))
        );
    }
    let error = client
        .fails("processKill", json!({"pid": 1, "signal": "SIGKILL"}))
        .await;
    assert_eq!(error["code"], "ENOENT", "only its own programs");
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_program_and_nobody_else() {
    let shared = Arc::new(Shared::default());
    let (mut idle, mut other) = (Client::of(shared.clone()), Client::of(shared));
    let spawned = idle.call("spawn", shell("yes")).await;
    idle.begin("processWait", json!({"pid": spawned["pid"]}))
        .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (_, out, _) = run(&mut other, shell("echo here")).await;
    assert_eq!(out, "here\n");
    // Its client goes; the program goes on, and another client ends it.
    drop(idle);
    let pid = &spawned["pid"];
    other.call("processKill", json!({"pid": pid})).await;
    let status = other.call("processWait", json!({"pid": pid})).await;
    assert_eq!(status["signal"], "SIGTERM");
}
