//! What the repository builds: programs for a host, and the default image.

mod image;

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{cargo, paths, progress, tools};

/// A set of files, each with its path in the set.
pub type Set = Vec<(String, PathBuf)>;

/// Programs that run on a host, and the package of each.
const PROGRAMS: &[(&str, &str)] = &[
    ("hostd", "hostd"),
    ("thaw", "hostd"),
    ("vmm", "vmm"),
    ("images", "images"),
    ("bench-restore", "tests"),
];

/// Static programs, which run in guests, and the package of each.
const GUEST_PROGRAMS: &[(&str, &str)] = &[("guest-agent", "guest-agent"), ("fake-agent", "tests")];

/// What was built.
#[derive(Debug)]
pub struct Products {
    /// All programs side by side.
    pub programs: Set,
    /// A directory of images with the default image; absent until one was built.
    pub images: Option<PathBuf>,
}

/// Builds everything that is not up to date.
///
/// # Errors
/// When a build fails, or packages for the image cannot be had.
pub fn build() -> Result<Products> {
    build_programs()?;
    tools::ensure(tools::BUILDING)?;
    image::build(&cargo::static_programs().join("guest-agent"))?;
    existing()
}

/// Builds the programs alone.
///
/// # Errors
/// When a build fails.
pub fn build_programs() -> Result<()> {
    let step = progress::section("building programs");
    let mut host = cargo::cargo();
    cargo::run(host.args(["build", "--release"]).args(selection(PROGRAMS)))?;
    cargo::run(cargo::cargo_build_static().args(selection(GUEST_PROGRAMS)))?;
    step.done();
    Ok(())
}

/// What was built before, whatever the sources say.
///
/// # Errors
/// When the cache cannot be read.
pub fn existing() -> Result<Products> {
    let directories = [
        (PROGRAMS, paths::target().join("release")),
        (GUEST_PROGRAMS, cargo::static_programs()),
    ];
    let mut programs = Set::new();
    for (names, directory) in directories {
        let paths = names
            .iter()
            .map(|(name, _)| ((*name).to_owned(), directory.join(name)));
        programs.extend(paths.filter(|(_, path)| path.exists()));
    }
    Ok(Products {
        programs,
        images: image::existing()?,
    })
}

impl Products {
    /// The path of a program.
    ///
    /// # Errors
    /// When it was not built.
    pub fn program(&self, name: &str) -> Result<&PathBuf> {
        let found = self.programs.iter().find(|(program, _)| program == name);
        found
            .map(|(_, path)| path)
            .with_context(|| format!("{name} was not built"))
    }
}

/// Selects programs on cargo's command line.
fn selection(programs: &[(&'static str, &'static str)]) -> Vec<&'static str> {
    programs
        .iter()
        .flat_map(|(name, package)| ["--package", package, "--bin", name])
        .collect()
}
