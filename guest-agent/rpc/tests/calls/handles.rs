use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::client::Client;

async fn open(client: &mut Client, path: &std::path::Path, options: Value) -> Value {
    let opened = client
        .call("open", json!({"path": path, "options": options}))
        .await;
    opened["fileHandleId"].clone()
}

#[tokio::test]
async fn a_file_is_open_and_has_a_place() {
    let (mut client, temp) = (Client::new(), tempfile::tempdir().unwrap());
    let path = temp.path().join("file");
    let created = client.call("create", json!({"path": path})).await;
    let id = created["fileHandleId"].clone();
    let data = STANDARD.encode("hello world");
    let written = client
        .call("fileWrite", json!({"fileHandleId": id, "data": data}))
        .await;
    assert_eq!(written["bytesWritten"], 11);
    for (offset, whence, position) in [
        (json!(0), 0, 0),
        (json!(6), 0, 6),
        (json!(-2), 1, 4),
        (json!("-5"), 2, 6),
    ] {
        let asked = json!({"fileHandleId": id, "offset": offset, "whence": whence});
        assert_eq!(client.call("fileSeek", asked).await["position"], position);
    }
    let read = client
        .call("fileRead", json!({"fileHandleId": id, "length": 100}))
        .await;
    assert_eq!(read["data"], STANDARD.encode("world"));
    let end = client
        .call("fileRead", json!({"fileHandleId": id, "length": 100}))
        .await;
    assert_eq!(end["data"], Value::Null);
    client
        .call("fileTruncate", json!({"fileHandleId": id, "len": 5}))
        .await;
    client.call("fileSync", json!({"fileHandleId": id})).await;
    client
        .call("fileSyncData", json!({"fileHandleId": id}))
        .await;
    let time = "2001-02-03T04:05:06.000Z";
    client
        .call(
            "fileUtime",
            json!({"fileHandleId": id, "atime": time, "mtime": time}),
        )
        .await;
    let info = client.call("fileStat", json!({"fileHandleId": id})).await;
    assert_eq!((&info["size"], &info["mtime"]), (&json!(5), &json!(time)));
    // Python's names and times.
    client
        .call("fileTruncate", json!({"fileHandleId": id, "size": null}))
        .await;
    client
        .call(
            "fileUtime",
            json!({"fileHandleId": id, "atime": 1.5, "mtime": 86400}),
        )
        .await;
    let info = client.call("fileStat", json!({"fileHandleId": id})).await;
    assert_eq!(
        (&info["size"], &info["mtime"]),
        (&json!(0), &json!("1970-01-02T00:00:00.000Z"))
    );
    client.call("fileClose", json!({"fileHandleId": id})).await;
    let error = client.fails("fileStat", json!({"fileHandleId": id})).await;
    assert_eq!(error["constructorName"], "BadResource");
    let before = json!({"fileHandleId": 0, "offset": -1, "whence": 0});
    assert_eq!(
        client.fails("fileSeek", before).await["constructorName"],
        "BadResource"
    );
}

#[tokio::test]
async fn options_say_how_it_is_open() {
    let (mut client, temp) = (Client::new(), tempfile::tempdir().unwrap());
    let path = temp.path().join("file");
    std::fs::write(&path, "old").unwrap();
    let id = open(&mut client, &path, Value::Null).await;
    let asked = json!({"fileHandleId": id, "data": STANDARD.encode("x")});
    assert_eq!(client.fails("fileWrite", asked).await["code"], "EBADF");
    let id = open(&mut client, &path, json!({"append": true})).await;
    client
        .call(
            "fileWrite",
            json!({"fileHandleId": id, "data": STANDARD.encode("new")}),
        )
        .await;
    assert_eq!(std::fs::read(&path).unwrap(), b"oldnew");
    let new = json!({"path": path, "options": {"write": true, "createNew": true}});
    assert_eq!(
        client.fails("open", new).await["constructorName"],
        "AlreadyExists"
    );
    let none = json!({"path": temp.path().join("none"), "options": {"read": true}});
    assert_eq!(
        client.fails("open", none).await["constructorName"],
        "NotFound"
    );
}

#[tokio::test]
async fn a_lock_waits_for_another_and_nothing_else_waits_with_it() {
    let (mut client, temp) = (Client::new(), tempfile::tempdir().unwrap());
    let path = temp.path().join("file");
    std::fs::write(&path, "x").unwrap();
    let first = open(&mut client, &path, json!({"read": true})).await;
    let second = open(&mut client, &path, json!({"read": true})).await;
    client
        .call(
            "fileLock",
            json!({"fileHandleId": first, "exclusive": true}),
        )
        .await;
    let waiting = client
        .begin(
            "fileLock",
            json!({"fileHandleId": second, "exclusive": true}),
        )
        .await;
    let read = client
        .call("fileRead", json!({"fileHandleId": second, "length": 1}))
        .await;
    assert_eq!(read["data"], STANDARD.encode("x"));
    client
        .call("fileUnlock", json!({"fileHandleId": first}))
        .await;
    assert_eq!(client.answer(waiting).await["result"]["ok"], Value::Null);
}
