//! An editor, with a small one in its place.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::client::Client;

/// Says what it was given, and stays.
const EDITOR: &str = r#"#!/bin/sh
case "$1" in --install-extension)
    [ "$2" = good.one ] && exit 0; echo "no such extension" >&2; exit 1;;
esac
echo "$@"
while [ "$1" != --user-data-dir ]; do shift; done
cat "$2/User/settings.json"
echo " token=$DENO_DEPLOY_SANDBOX_TOKEN own=$OWN"
exec sleep 600
"#;

#[tokio::test]
async fn an_editor_is_started_as_it_is_wanted() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("code-server");
    fs::write(&program, EDITOR).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let paths = format!("{}:/usr/bin:/bin", directory.path().display());
    let env = json!({"PATH": paths, "OWN": "mine", "DENO_DEPLOY_SANDBOX_TOKEN": "ddo_secret"});
    let asked = json!({
        "path": "/home/app", "extensions": ["good.one"], "env": env,
        "editorSettings": {"editor.fontSize": 17},
    });
    let mut client = Client::new();
    let editor = client.call("vscode", asked.clone()).await;
    assert!(editor["port"].as_u64().is_some_and(|port| port > 0));
    let kill = json!({"pid": editor["pid"], "vscode": true});
    let wait = client.begin("processWait", kill.clone()).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    client.call("processKill", kill).await;
    let ended = client.answer(wait).await;
    assert_eq!(ended["result"]["ok"]["signal"], "SIGTERM");
    let said = client.bytes(&editor["stdoutStreamId"]).await;
    let said = String::from_utf8(said).unwrap();
    let address = format!("--bind-addr 127.0.0.1:{} ", editor["port"]);
    assert!(
        said.contains(&address) && said.contains(" /home/app\n"),
        "{said}"
    );
    assert!(
        said.contains(r#"{"editor.fontSize":17} token= own=mine"#),
        "{said}"
    );

    let mut other = asked.clone();
    other["extensions"] = json!(["good.one", "bad.one"]);
    let error = client.fails("vscode", other).await;
    let text = error["message"].as_str().unwrap();
    assert!(
        text.contains("bad.one") && text.contains("no such extension"),
        "{text}"
    );
    let mut nowhere = asked;
    nowhere["env"] = json!({"PATH": "/nowhere"});
    for extensions in [json!([]), json!(["good.one"])] {
        nowhere["extensions"] = extensions;
        let error = client.fails("vscode", nowhere.clone()).await;
        assert_eq!(error["constructorName"], "NotFound");
    }
}
