use std::sync::Arc;

use sandbox_rpc::Shared;
use serde_json::{Value, json};

use crate::client::Client;

#[tokio::test]
async fn variables_are_the_sandboxes_and_programs_have_them() {
    let shared = Arc::new(Shared::default());
    let mut client = Client::of(shared.clone());
    assert_eq!(
        client.call("envGet", json!({"key": "COLOUR"})).await,
        Value::Null
    );
    client
        .call("envSet", json!({"key": "COLOUR", "value": "grün"}))
        .await;
    let mut other = Client::of(shared);
    assert_eq!(other.call("envGet", json!({"key": "COLOUR"})).await, "grün");
    let all = other.call("envToObject", json!({})).await;
    assert!(
        all["COLOUR"] == "grün" && all.get("PATH").is_some(),
        "{all}"
    );
    let asked =
        json!({"command": "printenv", "args": ["COLOUR"], "stdout": "piped", "stderr": "null"});
    let spawned = other.call("spawn", asked).await;
    other
        .call("processWait", json!({"pid": spawned["pid"]}))
        .await;
    let out = other.bytes(&spawned["stdoutStreamId"]).await;
    assert_eq!(String::from_utf8(out).unwrap(), "grün\n");
    client.call("envDelete", json!({"key": "COLOUR"})).await;
    assert_eq!(
        other.call("envGet", json!({"key": "COLOUR"})).await,
        Value::Null
    );
    for (method, params) in [
        ("envGet", json!({"key": ""})),
        ("envSet", json!({"key": "A=B", "value": "x"})),
        ("envSet", json!({"key": "A", "value": "x\0"})),
    ] {
        let error = client.fails(method, params).await;
        assert_eq!(error["constructorName"], "TypeError");
    }
}
