//! Trees of files: each entry is one piece of a stream.

use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use walkdir::{DirEntry, WalkDir};

use crate::connection::read;
use crate::state::State;
use crate::streams::Writer;
use crate::wire::{Answer, Error, Failure};

/// Entries that wait for the client to read them.
const QUEUE: usize = 256;

/// What is asked for; the Python SDK has all but the path in `options`.
#[derive(Deserialize)]
struct Nested<T> {
    options: Option<T>,
}

#[derive(Deserialize)]
struct PathOf {
    path: PathBuf,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Walk {
    max_depth: Option<f64>,
    include_files: Option<bool>,
    include_dirs: Option<bool>,
    include_symlinks: Option<bool>,
    follow_symlinks: Option<bool>,
    canonicalize: Option<bool>,
    exts: Option<Vec<String>>,
    r#match: Option<Vec<Pattern>>,
    skip: Option<Vec<Pattern>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Pattern {
    Regex { source: String, flags: String },
    Text(String),
}

#[derive(Deserialize)]
struct GlobOf {
    glob: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Glob {
    case_insensitive: Option<bool>,
    root: Option<PathBuf>,
    exclude: Option<Vec<String>>,
    include_dirs: Option<bool>,
    follow_symlinks: Option<bool>,
    canonicalize: Option<bool>,
}

pub(super) async fn call(state: &State, method: &str, params: &str) -> Answer {
    let writer = state.outgoing.begin(&state.outbox);
    let id = writer.id();
    match method {
        "walk" => {
            let PathOf { path } = read(params)?;
            let Selected {
                root,
                walk,
                selects,
            } = options::<Walk>(params)?.select(path)?;
            std::fs::symlink_metadata(&root).map_err(|error| Error::path(&error, "walk", &root))?;
            tokio::spawn(send(writer, walk, selects));
        }
        "expandGlob" => {
            let GlobOf { glob } = read(params)?;
            let Selected { walk, selects, .. } = options::<Glob>(params)?.select(&glob)?;
            tokio::spawn(send(writer, walk, selects));
        }
        _ => return Err(Failure::UnknownMethod),
    }
    Ok(json!({"streamId": id}))
}

fn options<'a, T: Deserialize<'a>>(params: &'a str) -> Result<T, Failure> {
    match read::<Nested<T>>(params)?.options {
        Some(options) => Ok(options),
        None => read(params),
    }
}

/// What is walked, and which entries of it are told.
struct Selected {
    root: PathBuf,
    walk: WalkDir,
    selects: Selects,
}

/// Which entries are told, and which directories are entered.
struct Selects {
    enters: Box<dyn Fn(&Path) -> bool + Send>,
    tells: Box<dyn Fn(&DirEntry) -> bool + Send>,
    canonicalize: bool,
}

impl Walk {
    fn select(self, root: PathBuf) -> Result<Selected, Error> {
        let follows = self.follow_symlinks.unwrap_or(false);
        let mut walk = WalkDir::new(&root)
            .follow_links(follows)
            .follow_root_links(false);
        if let Some(depth) = self.max_depth.filter(|depth| depth.is_finite()) {
            // Of a length that no path has, or of none.
            walk = walk.max_depth(depth.clamp(0.0, 1e6) as usize);
        }
        let matching = self.r#match.map(regexes).transpose()?;
        let skipped = regexes(self.skip.unwrap_or_default())?;
        let skips = move |path: &Path| {
            let text = path.to_string_lossy();
            skipped.iter().any(|regex| regex.is_match(&text))
        };
        let (files, dirs, links) = (
            self.include_files.unwrap_or(true),
            self.include_dirs.unwrap_or(true),
            self.include_symlinks.unwrap_or(true),
        );
        let exts = self.exts;
        let tells = move |entry: &DirEntry| {
            let kind = entry.file_type();
            let included = if kind.is_dir() {
                dirs
            } else if kind.is_symlink() {
                links
            } else {
                files
            };
            let text = entry.path().to_string_lossy();
            let ends = |exts: &Vec<String>| exts.iter().any(|ext| text.ends_with(ext.as_str()));
            let matches = |regexes: &Vec<Regex>| regexes.iter().any(|regex| regex.is_match(&text));
            included && exts.as_ref().is_none_or(ends) && matching.as_ref().is_none_or(matches)
        };
        Ok(Selected {
            root,
            walk,
            selects: Selects {
                enters: Box::new(move |path| !skips(path)),
                tells: Box::new(tells),
                canonicalize: follows && self.canonicalize.unwrap_or(true),
            },
        })
    }
}

/// JavaScript's regular expressions, as far as they are ours, too: all but look-around and back-references.
fn regexes(patterns: Vec<Pattern>) -> Result<Vec<Regex>, Error> {
    let regex = |pattern: Pattern| {
        let (source, flags) = match pattern {
            Pattern::Regex { source, flags } => (source, flags),
            Pattern::Text(source) => (source, String::new()),
        };
        let made = RegexBuilder::new(&source)
            .case_insensitive(flags.contains('i'))
            .multi_line(flags.contains('m'))
            .dot_matches_new_line(flags.contains('s'))
            .build();
        made.map_err(|error| Error::new("SyntaxError", error.to_string()))
    };
    patterns.into_iter().map(regex).collect()
}

impl Glob {
    fn select(self, glob: &str) -> Result<Selected, Error> {
        let root = match self.root {
            Some(root) => std::path::absolute(root),
            None => std::env::current_dir(),
        };
        let root = root.map_err(|error| Error::io(&error, "expandGlob"))?;
        let ignores_case = self.case_insensitive.unwrap_or(false);
        let absolute = |glob: &str| match glob.starts_with('/') {
            true => glob.to_owned(),
            false => format!("{}/{glob}", root.to_string_lossy().trim_end_matches('/')),
        };
        let wanted = globs(&[absolute(glob)], ignores_case)?;
        let excluded: Vec<_> = self.exclude.unwrap_or_default();
        let excluded: Vec<_> = excluded.iter().map(|glob| absolute(glob)).collect();
        let excluded = globs(&excluded, ignores_case)?;
        // The directories that the pattern names are not searched for.
        let fixed = absolute(glob);
        let fixed = fixed
            .split('/')
            .take_while(|part| !part.contains(['*', '?', '[', '{', '!', '+', '@']));
        let fixed = PathBuf::from(format!("/{}", fixed.collect::<Vec<_>>().join("/")));
        let from = fixed.ancestors().find(|path| path.is_dir());
        let from = from.unwrap_or(Path::new("/")).to_owned();
        let from: PathBuf = from.components().collect();
        let dirs = self.include_dirs.unwrap_or(true);
        let follows = self.follow_symlinks.unwrap_or(false);
        let tells = move |entry: &DirEntry| {
            wanted.is_match(entry.path()) && (dirs || !entry.file_type().is_dir())
        };
        Ok(Selected {
            walk: WalkDir::new(&from).follow_links(follows),
            root: from,
            selects: Selects {
                enters: Box::new(move |path| !excluded.is_match(path)),
                tells: Box::new(tells),
                canonicalize: follows && self.canonicalize.unwrap_or(true),
            },
        })
    }
}

fn globs(patterns: &[String], ignores_case: bool) -> Result<GlobSet, Error> {
    let wrong = |error: globset::Error| Error::new("SyntaxError", error.to_string());
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern)
            .literal_separator(true)
            .case_insensitive(ignores_case)
            .empty_alternates(true)
            .build();
        set.add(glob.map_err(wrong)?);
    }
    set.build().map_err(wrong)
}

/// Sends the entries that are told, until there are no more or nobody wants them.
async fn send(writer: Writer, walk: WalkDir, selects: Selects) {
    let (sender, mut entries) = mpsc::channel(QUEUE);
    let walking = tokio::task::spawn_blocking(move || {
        let entries = walk
            .into_iter()
            .filter_entry(|entry| (selects.enters)(entry.path()));
        for entry in entries {
            let told = match entry {
                Ok(entry) if (selects.tells)(&entry) => Ok(told(&entry, selects.canonicalize)),
                Ok(_) => continue,
                Err(error) => Err(failed(&error)),
            };
            let over = told.is_err();
            if sender.blocking_send(told).is_err() || over {
                break;
            }
        }
    });
    writer.start().await;
    let mut error = None;
    while let Some(entry) = entries.recv().await {
        match entry {
            _ if writer.cancelled.is_cancelled() => break,
            Ok(entry) => writer.send_whole(entry.to_string().as_bytes()).await,
            Err(failed) => error = Some(failed),
        }
    }
    drop(entries);
    let _ = walking.await;
    match error {
        Some(error) => writer.fail(&error).await,
        None => writer.end().await,
    }
}

fn told(entry: &DirEntry, canonicalize: bool) -> Value {
    let real = canonicalize
        .then(|| entry.path().canonicalize().ok())
        .flatten();
    let path = real.as_deref().unwrap_or(entry.path());
    let name = path.file_name().unwrap_or(entry.file_name());
    let kind = entry.file_type();
    json!({
        "path": path.to_string_lossy(),
        "name": name.to_string_lossy(),
        "isFile": kind.is_file(),
        "isDirectory": kind.is_dir(),
        "isSymlink": kind.is_symlink(),
    })
}

fn failed(error: &walkdir::Error) -> Error {
    let path = error.path().unwrap_or(Path::new(""));
    match error.io_error() {
        Some(source) => Error::path(source, "walk", path),
        None => Error::new(
            "FilesystemLoop",
            format!("a link leads back: '{}'", path.display()),
        ),
    }
}
