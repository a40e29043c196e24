//! Programs of Deno's, with a small `deno` in the place of the large one: this very test program.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::Client;

const ARGUMENTS: &str = "FAKE_DENO_ARGUMENTS";

/// A directory with `deno` in it, and a setting that finds it.
fn deno() -> (TempDir, Value) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deno");
    let this = std::env::current_exe().unwrap();
    let script = format!(
        "#!/bin/sh\n{ARGUMENTS}=$(printf '%s\\n' \"$@\") exec {} --ignored --exact deno::fake --nocapture\n",
        this.display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let paths = format!("{}:/usr/bin:/bin", directory.path().display());
    let setting = json!({
        "cwd": directory.path(), "env": {"PATH": paths}, "stdout": "piped", "stderr": "piped",
    });
    (directory, setting)
}

fn with(mut setting: Value, more: Value) -> Value {
    let more = more.as_object().unwrap().clone();
    setting.as_object_mut().unwrap().extend(more);
    setting
}

#[test]
#[ignore = "executed by a shell script in the place of Deno"]
fn fake() {
    let arguments = std::env::var(ARGUMENTS).unwrap();
    let arguments: Vec<&str> = arguments.lines().collect();
    match arguments[0] {
        "run" => fake_run(&arguments),
        "repl" => fake_repl(&arguments),
        other => panic!("{other}"),
    }
}

fn fake_run(arguments: &[&str]) {
    let file = arguments.iter().find(|one| one.contains('.')).unwrap();
    let code = fs::read_to_string(file).unwrap();
    println!("arguments {}", arguments.join(" "));
    println!("code {code}");
    if code == "serve" {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let length = stream.read(&mut request).unwrap();
        let request = String::from_utf8_lossy(&request[..length]).to_lowercase();
        let mut lines = request.lines();
        let (first, host) = (
            lines.next().unwrap(),
            lines.find(|line| line.starts_with("host: ")),
        );
        let body = format!("{first} {}", host.unwrap());
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).unwrap();
    }
}

/// Code is JSON, which is its own value, or `throw NAME MESSAGE`, `syntax`, or `exit`.
#[expect(unsafe_code, reason = "a descriptor that this process was given")]
fn fake_repl(arguments: &[&str]) {
    assert!(arguments.contains(&"--json"));
    // SAFETY: nobody else here has it.
    let mut line = UnixStream::from(unsafe { OwnedFd::from_raw_fd(3) });
    let (mut value, mut thrown) = (Value::Null, Value::Null);
    let mut length = [0; 4];
    while line.read_exact(&mut length).is_ok() {
        let mut message = vec![0; u32::from_le_bytes(length) as usize];
        line.read_exact(&mut message).unwrap();
        let message: Value = serde_json::from_slice(&message).unwrap();
        assert_eq!(message["type"], "Run");
        let code = message["code"].as_str().unwrap();
        let success = |output: Value| json!({"type": "RunSuccess", "output": output});
        let reply = if code.contains(".thrown()") {
            success(thrown.to_string().into())
        } else if code.contains(".value()") {
            success(value.to_string().into())
        } else if code.contains("Symbol.for") {
            success(Value::Null)
        } else if code == "exit" {
            std::process::exit(3);
        } else if code == "syntax" {
            json!({"type": "Error", "error": "SyntaxError: Expected something"})
        } else if let Some(error) = code.strip_prefix("throw ") {
            let (name, text) = error.split_once(' ').unwrap();
            thrown = json!([name, text]);
            json!({"type": "RunFailure", "text": "Uncaught"})
        } else if let Some(call) = code.strip_prefix("await (") {
            value = call.into();
            success(Value::Null)
        } else {
            value = serde_json::from_str(code).unwrap();
            success(Value::Null)
        };
        let reply = reply.to_string();
        line.write_all(&(reply.len() as u32).to_le_bytes()).unwrap();
        line.write_all(reply.as_bytes()).unwrap();
    }
}

async fn output(client: &mut Client, spawned: &Value) -> String {
    let wait = json!({"pid": spawned["pid"]});
    let status = client.call("processWait", wait).await;
    let err = client.bytes(&spawned["stderrStreamId"]).await;
    assert_eq!(status["code"], 0, "{}", String::from_utf8_lossy(&err));
    let out = client.bytes(&spawned["stdoutStreamId"]).await;
    String::from_utf8(out).unwrap()
}

#[tokio::test]
async fn code_is_a_file_as_long_as_it_runs() {
    let (directory, setting) = deno();
    let mut client = Client::new();
    let asked = with(
        setting.clone(),
        json!({"code": "let x: number", "extension": "mts", "scriptArgs": ["a", "b"]}),
    );
    let spawned = client.call("spawnDeno", asked).await;
    assert_eq!(spawned["watcherId"], Value::Null);
    let said = output(&mut client, &spawned).await;
    assert!(
        said.contains("arguments run --allow-all --no-prompt "),
        "{said}"
    );
    assert!(said.contains(".mts a b\ncode let x: number\n"), "{said}");
    // Where it is run, so that its imports are found; and gone now.
    assert!(said.contains(directory.path().to_str().unwrap()), "{said}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);

    fs::write(directory.path().join("main.ts"), "one").unwrap();
    for (watch, said_of_it) in [
        (json!(true), "--watch main.ts"),
        (json!(["a", "b"]), "--watch=a,b main.ts"),
        (json!(false), "--no-prompt main.ts"),
    ] {
        let asked = with(
            setting.clone(),
            json!({"entrypoint": "main.ts", "watch": watch}),
        );
        let spawned = client.call("spawnDeno", asked).await;
        let said = output(&mut client, &spawned).await;
        assert!(
            said.contains(said_of_it) && said.contains("code one"),
            "{said}"
        );
    }
    for bad in [
        json!({}),
        json!({"code": "1", "entrypoint": "x"}),
        json!({"code": "1", "extension": "../x"}),
    ] {
        let error = client.fails("spawnDeno", with(setting.clone(), bad)).await;
        assert_eq!(error["constructorName"], "TypeError");
    }
}

#[tokio::test]
async fn a_server_is_waited_for_and_asked() {
    let (_directory, setting) = deno();
    let mut client = Client::new();
    let spawned = client
        .call("spawnDeno", with(setting.clone(), json!({"code": "serve"})))
        .await;
    let pid = json!({"pid": spawned["pid"]});
    assert_eq!(client.call("denoHttpWait", pid.clone()).await, true);
    let asked = json!({
        "url": "https://example.com/a?b", "method": "GET", "headers": [], "redirect": "follow",
        "pid": spawned["pid"],
    });
    let answer = client.call("fetch", asked.clone()).await;
    assert_eq!(answer["status"], 200);
    let body = client.bytes(&answer["bodyStreamId"]).await;
    assert_eq!(body, b"get /a?b http/1.1 host: example.com");
    output(&mut client, &spawned).await;
    // It has ended.
    assert_eq!(client.call("denoHttpWait", pid).await, false);
    client.fails("fetch", asked).await;
    let error = client.fails("denoHttpWait", json!({"pid": 1})).await;
    assert_eq!(error["code"], "ENOENT");
}

#[tokio::test]
async fn a_repl_gives_values_and_says_what_was_thrown() {
    let (_directory, setting) = deno();
    let mut client = Client::new();
    let repl = client.call("spawnDenoRepl", setting).await;
    let eval = |code: &str| json!({"pid": repl["pid"], "code": code});
    for code in ["2", "\"undefined\"", "{\"a\":[1,null]}", "null"] {
        let value = client.call("denoReplEval", eval(code)).await;
        assert_eq!(value.to_string(), code);
    }
    for (code, class, message) in [
        ("throw RangeError too far", "RangeError", "too far"),
        ("throw MyOwn of mine", "Error", "MyOwn: of mine"),
        ("syntax", "SyntaxError", "Expected something"),
    ] {
        let error = client.fails("denoReplEval", eval(code)).await;
        let said = (&error["constructorName"], &error["message"]);
        assert_eq!(said, (&json!(class), &json!(message)));
    }
    let call = json!({"pid": repl["pid"], "fn": "add", "args": [1, "x"]});
    let called = client.call("denoReplCall", call).await;
    assert_eq!(called, "add\n)(...[1,\"x\"])");
    // In order, however many ask at once.
    let mut asked = Vec::new();
    for number in 0..50 {
        asked.push(
            client
                .begin("denoReplEval", eval(&number.to_string()))
                .await,
        );
    }
    for (number, id) in asked.into_iter().enumerate() {
        assert_eq!(client.answer(id).await["result"]["ok"], number);
    }
    let pid = json!({"pid": repl["pid"]});
    client.call("denoReplClose", pid.clone()).await;
    let error = client.fails("denoReplClose", pid.clone()).await;
    assert_eq!(error["code"], "ENOENT");
    client.fails("denoReplEval", eval("1")).await;
    let ended = client.call("processWait", pid).await;
    assert_eq!(ended["signal"], "SIGKILL");
}

#[tokio::test]
async fn a_repl_that_ends_says_so_and_what_is_none_is_refused() {
    let (_directory, setting) = deno();
    let mut client = Client::new();
    let repl = client.call("spawnDenoRepl", setting.clone()).await;
    let eval = json!({"pid": repl["pid"], "code": "exit"});
    let error = client.fails("denoReplEval", eval).await;
    assert_eq!(error["message"], "the REPL has ended");
    let shell = json!({"command": "true", "stdout": "null", "stderr": "null"});
    let other = client.call("spawn", shell).await;
    for pid in [other["pid"].clone(), json!(1)] {
        let eval = json!({"pid": pid, "code": "1"});
        let error = client.fails("denoReplEval", eval).await;
        assert_eq!(error["constructorName"], "TypeError");
    }
    let nowhere = with(setting, json!({"env": {"PATH": "/nowhere"}, "code": "1"}));
    let error = client.fails("spawnDeno", nowhere).await;
    assert_eq!(error["constructorName"], "NotFound");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("no program `deno`")
    );
}
