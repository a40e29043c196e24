use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::client::Client;

#[tokio::test]
async fn a_file_is_written_and_read_as_a_whole() {
    let (mut client, temp) = (Client::new(), tempfile::tempdir().unwrap());
    let path = temp.path().join("file");
    client
        .call("writeTextFile", json!({"path": path, "content": "hello"}))
        .await;
    assert_eq!(
        client.call("readTextFile", json!({"path": path})).await,
        "hello"
    );
    let options = json!({"append": true});
    let asked = json!({"path": path, "content": " world", "options": options});
    client.call("writeTextFile", asked).await;
    assert_eq!(
        client.call("readTextFile", json!({"path": path})).await,
        "hello world"
    );
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let asked =
        json!({"path": path, "content": STANDARD.encode(&bytes), "options": {"mode": 0o600}});
    client.call("writeFile", asked).await;
    let read = client.call("readFile", json!({"path": path})).await;
    assert_eq!(STANDARD.decode(read.as_str().unwrap()).unwrap(), bytes);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let again = json!({"path": path, "content": "", "options": {"createNew": true}});
    let error = client.fails("writeTextFile", again).await;
    assert_eq!(
        (&error["constructorName"], &error["code"]),
        (&json!("AlreadyExists"), &json!("EEXIST"))
    );
    let none =
        json!({"path": temp.path().join("none"), "content": "", "options": {"create": false}});
    let error = client.fails("writeTextFile", none).await;
    assert_eq!(
        (&error["constructorName"], &error["code"]),
        (&json!("NotFound"), &json!("ENOENT"))
    );
    let message = error["message"].as_str().unwrap();
    assert!(
        message.starts_with("No such file or directory (os error 2): open '"),
        "{message}"
    );
}

#[tokio::test]
async fn content_comes_in_a_stream_before_or_after_it_is_asked_for() {
    let (mut client, temp) = (Client::new(), tempfile::tempdir().unwrap());
    let path = temp.path().join("file");
    // The JavaScript SDK numbers its streams from 0.
    client.stream(0, &[b"one ", b"two ", b"three"]).await;
    client
        .call("writeFile", json!({"path": path, "contentStreamId": 0}))
        .await;
    assert_eq!(std::fs::read(&path).unwrap(), b"one two three");
    client
        .notify("$sandbox.stream.start", json!({"streamId": 7}))
        .await;
    let writing = client
        .begin("writeFile", json!({"path": path, "contentStreamId": 7}))
        .await;
    let large = vec![7; 200_000];
    for _ in 0..200 {
        let data = STANDARD.encode(&large);
        client
            .notify(
                "$sandbox.stream.enqueue",
                json!({"streamId": 7, "data": data}),
            )
            .await;
    }
    client
        .notify("$sandbox.stream.end", json!({"streamId": 7}))
        .await;
    assert_eq!(client.answer(writing).await["result"]["ok"], Value::Null);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 40_000_000);
    client
        .notify("$sandbox.stream.start", json!({"streamId": 8}))
        .await;
    let error = json!({"streamId": 8, "error": {"constructorName": "Error", "message": "the disk is gone"}});
    client.notify("$sandbox.stream.error", error).await;
    let error = client
        .fails("writeFile", json!({"path": path, "contentStreamId": 8}))
        .await;
    assert_eq!(error["message"], "the disk is gone");
    let error = client
        .fails("writeFile", json!({"path": path, "contentStreamId": 9}))
        .await;
    assert_eq!(error["constructorName"], "TypeError");
}

#[tokio::test]
async fn a_request_is_aborted() {
    let (mut client, temp) = (Client::new(), tempfile::tempdir().unwrap());
    let path = temp.path().join("file");
    client
        .notify("$sandbox.stream.start", json!({"streamId": 1}))
        .await;
    let asked = json!({"path": path, "contentStreamId": 1, "abortId": 5});
    let writing = client.begin("writeFile", asked).await;
    client.call("abort", json!({"abortId": 5})).await;
    let error = client.answer(writing).await["result"]["error"].clone();
    assert_eq!(
        (&error["constructorName"], &error["name"]),
        (&json!("DOMException"), &json!("AbortError"))
    );
}

#[tokio::test]
async fn paths_are_made_told_and_changed() {
    let (mut client, temp) = (Client::new(), tempfile::tempdir().unwrap());
    let at = |name: &str| temp.path().join(name).to_str().unwrap().to_owned();
    client
        .call(
            "mkdir",
            json!({"path": at("a/b"), "options": {"recursive": true, "mode": 0o700}}),
        )
        .await;
    client
        .call(
            "writeTextFile",
            json!({"path": at("a/file"), "content": "x"}),
        )
        .await;
    client
        .call("symlink", json!({"target": "file", "path": at("a/link")}))
        .await;
    client
        .call(
            "link",
            json!({"target": at("a/file"), "path": at("a/hard")}),
        )
        .await;
    let mut entries = client.call("readDir", json!({"path": at("a")})).await;
    let entries = entries.as_array_mut().unwrap();
    entries.sort_by_key(|entry| entry["name"].to_string());
    let entry = |name: &str, kind: &str| {
        json!({
            "name": name,
            "isFile": kind == "file",
            "isDirectory": kind == "directory",
            "isSymlink": kind == "link",
        })
    };
    let expected = [
        entry("b", "directory"),
        entry("file", "file"),
        entry("hard", "file"),
        entry("link", "link"),
    ];
    assert_eq!(entries[..], expected);
    assert_eq!(
        client.call("readLink", json!({"path": at("a/link")})).await,
        "file"
    );
    let real = std::fs::canonicalize(at("a/file")).unwrap();
    assert_eq!(
        client.call("realPath", json!({"path": at("a/link")})).await,
        real.to_str().unwrap()
    );
    client
        .call(
            "rename",
            json!({"oldPath": at("a/file"), "newPath": at("moved")}),
        )
        .await;
    client
        .call(
            "copyFile",
            json!({"fromPath": at("moved"), "toPath": at("copy")}),
        )
        .await;
    client
        .call("chmod", json!({"path": at("copy"), "mode": 0o640}))
        .await;
    client
        .call(
            "chown",
            json!({"path": at("copy"), "uid": null, "gid": null}),
        )
        .await;
    client
        .call("truncate", json!({"name": at("copy"), "length": 10}))
        .await;
    let time = "2024-02-29T12:34:56.789Z";
    client
        .call(
            "utime",
            json!({"path": at("copy"), "atime": time, "mtime": time}),
        )
        .await;
    let info = client.call("stat", json!({"path": at("copy")})).await;
    assert_eq!(
        (&info["size"], &info["mtime"], &info["atime"]),
        (&json!(10), &json!(time), &json!(time))
    );
    assert_eq!(info["mode"].as_u64().unwrap() & 0o7777, 0o640);
    assert_eq!(info["isFile"], true);
    let info = client.call("lstat", json!({"path": at("a/link")})).await;
    assert_eq!(
        (&info["isSymlink"], &info["isFile"]),
        (&json!(true), &json!(false))
    );
    let error = client.fails("remove", json!({"path": at("a")})).await;
    assert_eq!(error["code"], "ENOTEMPTY");
    client
        .call(
            "remove",
            json!({"path": at("a"), "options": {"recursive": true}}),
        )
        .await;
    assert_eq!(
        client.fails("stat", json!({"path": at("a")})).await["constructorName"],
        "NotFound"
    );
    // The SDKs leave out what is not given, or give null.
    client
        .call(
            "mkdir",
            json!({"path": at("c"), "options": {"recursive": null, "mode": null}}),
        )
        .await;
}

#[tokio::test]
async fn temporary_names_are_fresh_and_the_mask_is_told() {
    let (mut client, temp) = (Client::new(), tempfile::tempdir().unwrap());
    let options = json!({"options": {"dir": temp.path(), "prefix": "pre-", "suffix": ".txt"}});
    for (method, directory) in [("makeTempDir", true), ("makeTempFile", false)] {
        let made = client.call(method, options.clone()).await;
        let made = std::path::PathBuf::from(made.as_str().unwrap());
        let name = made.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("pre-") && name.ends_with(".txt"), "{name}");
        assert_eq!(made.is_dir(), directory);
        assert_ne!(
            client.call(method, options.clone()).await,
            made.to_str().unwrap()
        );
    }
    let outside = json!({"options": {"dir": temp.path(), "prefix": "../x"}});
    assert_eq!(
        client.fails("makeTempDir", outside).await["constructorName"],
        "TypeError"
    );
    let before = client.call("umask", json!({})).await;
    assert_eq!(client.call("umask", json!({"mask": 0o077})).await, before);
    assert_eq!(client.call("umask", json!({"mask": before})).await, 0o077);
}

#[tokio::test]
async fn what_is_too_long_for_a_message_is_told() {
    let (mut client, temp) = (Client::new(), tempfile::tempdir().unwrap());
    let path = temp.path().join("file");
    // Each of these bytes is six characters in JSON.
    std::fs::write(&path, vec![1; 12 << 20]).unwrap();
    let error = client.fails("readTextFile", json!({"path": path})).await;
    assert_eq!(error["constructorName"], "RangeError");
    std::fs::File::create(&path)
        .unwrap()
        .set_len(100 << 20)
        .unwrap();
    let error = client.fails("readFile", json!({"path": path})).await;
    assert_eq!(error["constructorName"], "RangeError");
    assert_eq!(
        client.call("stat", json!({"path": path})).await["size"],
        100 << 20
    );
}
