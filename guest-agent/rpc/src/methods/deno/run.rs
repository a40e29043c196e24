//! `deno.run`: a file of the sandbox's, or a text that becomes one.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use tempfile::{Builder, TempPath};

use super::super::blocking;
use super::super::launch::{Extras, Setting};
use crate::state::State;
use crate::wire::{Answer, Error, Failure};

/// What code may be.
const EXTENSIONS: &[&str] = &["js", "cjs", "mjs", "ts", "cts", "mts", "jsx", "tsx"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Run {
    #[serde(flatten)]
    setting: Setting,
    script_args: Option<Vec<String>>,
    entrypoint: Option<String>,
    watch: Option<Watch>,
    code: Option<String>,
    extension: Option<String>,
}

/// Whether it starts again when a file changes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Watch {
    /// Those that it imports.
    Imported(bool),
    /// These, too.
    Named(Vec<String>),
}

pub(super) async fn call(state: &State, asked: Run) -> Answer {
    let mut command = super::deno(state, &asked.setting);
    command.args(["run", "--allow-all", "--no-prompt"]);
    match asked.watch {
        Some(Watch::Imported(true)) => {
            command.arg("--watch");
        }
        Some(Watch::Named(names)) => {
            command.arg(format!("--watch={}", names.join(",")));
        }
        Some(Watch::Imported(false)) | None => {}
    }
    let mut extras = Extras::default();
    match (asked.entrypoint, asked.code) {
        (Some(entrypoint), None) => command.arg(entrypoint),
        (None, Some(code)) => {
            let extension = asked.extension.unwrap_or_else(|| "ts".to_owned());
            let path = written(asked.setting.cwd.clone(), code, extension).await?;
            command.arg(&path);
            let command = &mut command;
            extras.keep = Some(Box::new(path));
            command
        }
        _ => {
            let text = "give `entrypoint` or `code`";
            return Err(Error::type_error(text).into());
        }
    };
    command.args(asked.script_args.unwrap_or_default());
    let started = super::start(state, &asked.setting, command, extras)?;
    let mut told = started.told();
    if let Some(told) = told.as_object_mut() {
        // What a watched program says of itself is in its output.
        told.insert("watcherId".to_owned(), Value::Null);
    }
    Ok(told)
}

/// Code as a file where it is run, so that what it imports is found from there; elsewhere if nothing can be written there.
async fn written(
    cwd: Option<String>,
    code: String,
    extension: String,
) -> Result<TempPath, Failure> {
    if !EXTENSIONS.contains(&extension.as_str()) {
        let text = format!("{extension:?} is none of {}", EXTENSIONS.join(", "));
        return Err(Error::type_error(text).into());
    }
    blocking(move || {
        let suffix = format!(".{extension}");
        let mut builder = Builder::new();
        builder.prefix(".code-").suffix(&suffix);
        let here = std::path::absolute(cwd.as_deref().unwrap_or("."));
        let file = here
            .and_then(|here| builder.tempfile_in(here))
            .or_else(|_| builder.tempfile());
        let path = file.map_err(|error| Error::io(&error, "make a file for the code"))?;
        let path = path.into_temp_path();
        let to: &Path = &path;
        std::fs::write(to, code).map_err(|error| Error::path(&error, "write", to))?;
        Ok(path)
    })
    .await
}
