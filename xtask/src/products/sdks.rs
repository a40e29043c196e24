//! The official Deno Sandbox SDKs, as they are published, kept in the cache. Only tests use them.

use std::path::PathBuf;

use anyhow::Result;

use crate::{cache, paths, tools};

/// What is fetched from PyPI. The gateway was made for this version; a later one may send more.
const PYTHON: &str = "deno-sandbox==0.16.0";

/// Returns a directory of Python packages, fetched if need be.
///
/// # Errors
/// When they cannot be had.
pub fn python() -> Result<PathBuf> {
    let cache = paths::cache()?;
    let _lock = cache::lock(&cache)?;
    cache::entry(&cache, "sdk-python", &[PYTHON], |directory| {
        tools::fetch_python(PYTHON, directory)
    })
}
