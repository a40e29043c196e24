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

use crate::{cache, digest, paths, virtual_host};

/// Changes when disks are made differently from the same recipe.
const DISKS_VERSION: &str = "1";
/// Changes when an image is put together differently from the same parts.
const IMAGE_VERSION: &str = "1";
/// Names the image that was built last.
const CURRENT: &str = "images-current";

/// Builds the image with `agent` in it, and notes it as the current one.
///
/// # Errors
/// When packages cannot be had.
pub fn build(agent: &Path) -> Result<()> {
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
    let images = cache::entry(&cache, "images", &inputs, |directory| {
        let output = directory.join(&recipe.name);
        fs::create_dir(&output)?;
        // All crates of the workspace have one version.
        let version = env!("CARGO_PKG_VERSION");
        Ok(assemble(&recipe, &kernel, &disks, agent, version, &output)?)
    })?;
    fs::write(cache.join(CURRENT), images.display().to_string())?;
    Ok(())
}

/// The directory of images that was built last, if it is still there.
///
/// # Errors
/// When the cache cannot be read.
pub fn existing() -> Result<Option<PathBuf>> {
    let current = fs::read_to_string(paths::cache()?.join(CURRENT))
        .ok()
        .map(PathBuf::from);
    Ok(current.filter(|directory| directory.is_dir()))
}
