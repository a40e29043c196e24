use serde_json::{Value, json};

use crate::client::Client;

fn tree() -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    for path in [
        "a/one.ts",
        "a/two.js",
        "b/deep/three.ts",
        "b/skipped/four.ts",
        "top.TS",
    ] {
        let path = temp.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    std::os::unix::fs::symlink("a", temp.path().join("link")).unwrap();
    temp
}

/// The paths of a stream, below the tree and in order.
async fn paths(
    client: &mut Client,
    method: &str,
    params: Value,
    temp: &tempfile::TempDir,
) -> Vec<String> {
    let answer = client.call(method, params).await;
    let pieces = client.pieces(&answer["streamId"]).await;
    let root = temp.path().to_str().unwrap();
    let mut paths: Vec<_> = pieces
        .iter()
        .map(|piece| {
            let entry: Value = serde_json::from_slice(piece).unwrap();
            assert!(
                entry["isFile"].is_boolean() && entry["name"].is_string(),
                "{entry}"
            );
            let path = entry["path"].as_str().unwrap();
            path.strip_prefix(root)
                .unwrap()
                .trim_start_matches('/')
                .to_owned()
        })
        .collect();
    paths.sort();
    paths
}

#[tokio::test]
async fn a_tree_is_walked() {
    let (mut client, temp) = (Client::new(), tree());
    let root = temp.path();
    let all = paths(&mut client, "walk", json!({"path": root}), &temp).await;
    assert_eq!(all.len(), 11, "{all:?}");
    assert!(all.contains(&String::new()) && all.contains(&"link".to_owned()));
    let asked = json!({
        "path": root,
        "includeDirs": false,
        "exts": [".ts"],
        "skip": [{"source": "skipped", "flags": ""}],
    });
    assert_eq!(
        paths(&mut client, "walk", asked, &temp).await,
        ["a/one.ts", "b/deep/three.ts"]
    );
    // As the Python SDK has it.
    let asked = json!({"path": root, "options": {"maxDepth": 1, "includeFiles": false, "includeSymlinks": false}});
    assert_eq!(
        paths(&mut client, "walk", asked, &temp).await,
        ["", "a", "b"]
    );
    let asked = json!({"path": root, "match": [{"source": "\\.ts$", "flags": "i"}]});
    let found = paths(&mut client, "walk", asked, &temp).await;
    assert_eq!(
        found,
        ["a/one.ts", "b/deep/three.ts", "b/skipped/four.ts", "top.TS"]
    );
    let error = client
        .fails("walk", json!({"path": root.join("none")}))
        .await;
    assert_eq!(error["constructorName"], "NotFound");
    let error = client
        .fails(
            "walk",
            json!({"path": root, "skip": [{"source": "(", "flags": ""}]}),
        )
        .await;
    assert_eq!(error["constructorName"], "SyntaxError");
}

#[tokio::test]
async fn a_pattern_is_expanded() {
    let (mut client, temp) = (Client::new(), tree());
    let root = temp.path();
    let asked = json!({"glob": "**/*.ts", "root": root, "exclude": ["b/skipped"]});
    assert_eq!(
        paths(&mut client, "expandGlob", asked, &temp).await,
        ["a/one.ts", "b/deep/three.ts"]
    );
    let asked = json!({"glob": format!("{}/*.ts", root.display()), "caseInsensitive": true});
    assert_eq!(
        paths(&mut client, "expandGlob", asked, &temp).await,
        ["top.TS"]
    );
    let asked = json!({"glob": "{a,b}/*", "options": {"root": root, "includeDirs": false}});
    assert_eq!(
        paths(&mut client, "expandGlob", asked, &temp).await,
        ["a/one.ts", "a/two.js"]
    );
    let asked = json!({"glob": "none/*", "root": root});
    assert!(
        paths(&mut client, "expandGlob", asked, &temp)
            .await
            .is_empty()
    );
}
