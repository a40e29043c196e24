//! The official Deno Sandbox SDKs, as they are published, kept in the cache. Only tests use them.

use std::path::PathBuf;

use anyhow::Result;

use crate::{cache, paths, tools};

/// What is fetched from PyPI and npm. The gateway was made for these versions; later ones may send more.
const PYTHON: &str = "deno-sandbox==0.16.0";
const JAVASCRIPT: &str = "@deno/sandbox@0.13.2";
/// What sandboxes run `deno.run` and `deno.repl` with.
const DENO: &str = "@deno/linux-x64-glibc@2.9.6";

/// Returns a directory of packages, fetched if need be: `python`, and `javascript/node_modules`.
///
/// # Errors
/// When they cannot be had.
pub fn get() -> Result<PathBuf> {
    let cache = paths::cache()?;
    let _lock = cache::lock(&cache)?;
    cache::entry(&cache, "sdks", &[PYTHON, JAVASCRIPT, DENO], |directory| {
        tools::fetch_python(PYTHON, &directory.join("python"))?;
        tools::fetch_javascript(&[JAVASCRIPT, DENO], &directory.join("javascript"))
    })
}
