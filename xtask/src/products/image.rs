//! The default image, kept in the cache in three layers: kernel, disks, and all of it together.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use images::{
    build::{assemble, make_disks},
    debian::SUITE,
    recipe::{self, Recipe},
};

use crate::{cache, digest, paths, tools, virtual_host};

/// Changes when disks are made differently from the same recipe.
const DISKS_VERSION: &str = "2";
/// Changes when an image is put together differently from the same parts.
const IMAGE_VERSION: &str = "1";

/// Returns the directory of images, with the default image with `agent` in it.
///
/// # Errors
/// When packages cannot be had.
pub fn build(agent: &Path) -> Result<PathBuf> {
    tools::ensure(tools::BUILDING)?;
    let cache = paths::cache()?;
    let _lock = cache::lock(&cache)?;
    let recipe = Recipe::parse(recipe::DEFAULT)?;
    let kernel = virtual_host::root::kernel(&cache)?;

    let scratch = recipe.scratch_mib.to_string();
    let inputs = [SUITE, DISKS_VERSION, &recipe.packages.join(" "), &scratch];
    let disks = cache::entry(&cache, "disks", &inputs, |directory| {
        Ok(make_disks(&recipe, directory)?)
    })?;

    let agent_digest = digest::of_file(agent).context("the guest agent was not built")?;
    let disks_key = disks.display().to_string();
    let inputs = [
        IMAGE_VERSION,
        recipe::DEFAULT,
        kernel.release(),
        &disks_key,
        &agent_digest,
    ];
    cache::entry(&cache, "images", &inputs, |directory| {
        let output = directory.join(&recipe.name);
        fs::create_dir(&output)?;
        // All crates of the workspace have one version.
        let version = env!("CARGO_PKG_VERSION");
        Ok(assemble(&recipe, &kernel, &disks, agent, version, &output)?)
    })
}
