use serde_json::{Value, json};

use crate::client::Client;

#[tokio::test]
async fn what_makes_no_sense_is_told_and_harms_nothing() {
    let mut client = Client::new();
    for text in ["", "nonsense", "[]", "{}", "{\"jsonrpc\":\"2.0\"}", "\u{0}"] {
        client.send_text(text).await;
    }
    client
        .notify(
            "$sandbox.stream.enqueue",
            json!({"streamId": 99, "data": "!!"}),
        )
        .await;
    client
        .notify("$sandbox.stream.cancel", json!({"streamId": 99}))
        .await;
    client.notify("nobody.knows.it", Value::Null).await;
    let id = client.begin("noSuchMethod", json!({})).await;
    let answer = client.answer(id).await;
    assert_eq!(answer["error"]["message"], "Method not found");
    for params in [json!({}), json!({"path": 1}), json!([]), json!("x")] {
        let id = client.begin("open", params).await;
        let answer = client.answer(id).await;
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
        assert_eq!(answer["error"]["data"]["constructorName"], "ZodError");
    }
    // Deeper than anybody nests.
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1000,"method":"envGet","params":{}{}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    client.send_text(&deep).await;
    assert!(client.call("envToObject", json!({})).await.is_object());
}

#[tokio::test]
async fn hundreds_of_requests_are_under_way_at_once() {
    let mut client = Client::new();
    let mut ids = Vec::new();
    for number in 0..2000 {
        ids.push(
            client
                .begin("envSet", json!({"key": format!("N{number}"), "value": "x"}))
                .await,
        );
    }
    for id in ids {
        assert_eq!(client.answer(id).await["result"]["ok"], Value::Null);
    }
}
