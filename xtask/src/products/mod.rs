//! What the repository builds: programs for a host, and the default image.

mod image;

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{cargo, paths, progress};

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
    /// A directory of images with the default image; absent when there is no agent to put in it.
    pub images: Option<PathBuf>,
}

/// Everything, up to date; with `no_build` cargo is not run, and programs are what they were.
///
/// # Errors
/// When a build fails, or packages for the image cannot be had.
pub fn get(no_build: bool) -> Result<Products> {
    if !no_build {
        build_programs()?;
    }
    let programs = existing_programs();
    let agent = programs.iter().find(|(name, _)| name == "guest-agent");
    let images = agent.map(|(_, path)| image::build(path)).transpose()?;
    Ok(Products { programs, images })
}

fn build_programs() -> Result<()> {
    let step = progress::section("building programs");
    let mut host = cargo::cargo();
    cargo::run(host.args(["build", "--release"]).args(selection(PROGRAMS)))?;
    cargo::run(cargo::cargo_build_static().args(selection(GUEST_PROGRAMS)))?;
    step.done();
    Ok(())
}

fn existing_programs() -> Set {
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
    programs
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
