//! `exposeVscode`: an editor in a browser, for the sandbox's files. It needs `code-server` among the sandbox's programs.
//!
//! Whoever knows its URL may use it, as in Deno Sandbox: it asks for no password.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value};
use tempfile::TempDir;

use super::blocking;
use super::launch::{Extras, Setting};
use crate::connection::read;
use crate::state::State;
use crate::wire::{Answer, Error, Failure};

/// The program.
const EDITOR: &str = "code-server";
/// The SDK gives its own token to the editor, for a button that ends the sandbox. Ours has none, and no code in a sandbox may have
/// a token that reaches beyond it.
const CLIENTS_TOKEN: &str = "DENO_DEPLOY_SANDBOX_TOKEN";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    path: PathBuf,
    extensions: Vec<String>,
    env: Option<BTreeMap<String, String>>,
    editor_settings: Option<Map<String, Value>>,
}

pub(super) async fn call(state: &State, params: &str) -> Answer {
    let asked: Asked = read(params)?;
    let mut variables = asked.env.unwrap_or_default();
    variables.remove(CLIENTS_TOKEN);
    let setting = Setting::piped(variables);
    for extension in &asked.extensions {
        install(state, &setting, extension).await?;
    }
    let settings = Value::from(asked.editor_settings.unwrap_or_default());
    let (data, port) = blocking(move || prepare(&settings)).await?;
    let mut command = setting.command(state, EDITOR);
    command
        .args(["--auth", "none", "--disable-telemetry"])
        .arg("--disable-update-check")
        .args(["--bind-addr", &format!("127.0.0.1:{port}")])
        .arg("--user-data-dir")
        .arg(data.path())
        .arg(asked.path);
    let extras = Extras {
        keep: Some(Box::new(data)),
        ..Extras::default()
    };
    let mut told = setting
        .start(state, command, extras)
        .map_err(told_if_missing)?
        .told();
    if let Some(told) = told.as_object_mut() {
        told.insert("port".to_owned(), port.into());
    }
    Ok(told)
}

/// A place for what the editor keeps of its user, with the settings in it; and a port that is free.
fn prepare(settings: &Value) -> Result<(TempDir, u16), Error> {
    let failed = |error: std::io::Error| Error::io(&error, "make room for the editor");
    let data = tempfile::Builder::new().prefix("vscode-").tempdir();
    let data = data.map_err(failed)?;
    let user = data.path().join("User");
    std::fs::create_dir(&user).map_err(failed)?;
    std::fs::write(user.join("settings.json"), settings.to_string()).map_err(failed)?;
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    Ok((data, port.map_err(failed)?.port()))
}

async fn install(state: &State, setting: &Setting, extension: &str) -> Result<(), Failure> {
    let mut command = setting.command(state, EDITOR);
    command.args(["--install-extension", extension]);
    let output = command.stdin(std::process::Stdio::null()).output().await;
    let output = output.map_err(|error| told_if_missing(Error::io(&error, EDITOR).into()))?;
    if output.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    let text = format!("extension {extension:?} was not installed: {}", told.trim());
    Err(Error::new("Error", text).into())
}

fn told_if_missing(failure: Failure) -> Failure {
    match failure {
        Failure::Failed(error) if error.code.as_deref() == Some("ENOENT") => {
            let text = "this sandbox has no program `code-server`; start it from a snapshot of one that has";
            Error::new("NotFound", text).with_code("ENOENT").into()
        }
        other => other,
    }
}
