//! Images, kept in the cache in three layers: kernel, disks, and all of it together.

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

/// What the image `clients` has more than the default image.
const CLIENTS: &str = include_str!("../../../tests/images/clients.txt");

/// Names of an image's entries in the cache.
struct Entries {
    disks: &'static str,
    images: &'static str,
}

/// Returns the directory of images, with the default image with `agent` in it.
///
/// # Errors
/// When packages cannot be had.
pub fn build(agent: &Path) -> Result<PathBuf> {
    let entries = Entries {
        disks: "disks",
        images: "images",
    };
    of(&Recipe::parse(recipe::DEFAULT)?, &entries, agent)
}

/// Returns a directory of images, with the image `clients`: the default image, and programs that tests try out.
///
/// # Errors
/// When packages cannot be had.
pub fn build_clients(agent: &Path) -> Result<PathBuf> {
    let mut recipe = Recipe::parse(recipe::DEFAULT)?;
    "clients".clone_into(&mut recipe.name);
    let lines = CLIENTS.lines().filter(|line| !line.starts_with('#'));
    recipe.packages.extend(lines.map(str::to_owned));
    let entries = Entries {
        disks: "client-disks",
        images: "client-images",
    };
    of(&recipe, &entries, agent)
}

fn of(recipe: &Recipe, entries: &Entries, agent: &Path) -> Result<PathBuf> {
    tools::ensure(tools::BUILDING)?;
    let cache = paths::cache()?;
    let _lock = cache::lock(&cache)?;
    let kernel = virtual_host::root::kernel(&cache)?;

    let scratch = recipe.scratch_mib.to_string();
    let inputs = [SUITE, DISKS_VERSION, &recipe.packages.join(" "), &scratch];
    let disks = cache::entry(&cache, entries.disks, &inputs, |directory| {
        Ok(make_disks(recipe, directory)?)
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
    cache::entry(&cache, entries.images, &inputs, |directory| {
        let output = directory.join(&recipe.name);
        fs::create_dir(&output)?;
        // All crates of the workspace have one version.
        let version = env!("CARGO_PKG_VERSION");
        Ok(assemble(recipe, &kernel, &disks, agent, version, &output)?)
    })
}
