//! What the repository builds: programs for a host, tests, and the default image.

mod image;
mod rivals;
mod sdks;

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result};

use crate::{
    cargo::{self, TestProgram},
    paths, progress, tools,
};

pub use rivals::get as rivals;
pub use sdks::get as sdks;

/// A set of files, each with its path in the set.
pub type Set = Vec<(String, PathBuf)>;

/// Programs that run on a host.
const PROGRAMS: &[&str] = &[
    "hostd",
    "thaw",
    "vmm",
    "images",
    "bench-restore",
    "bench-sdk",
    "world",
];

/// Static programs, which run in guests. Each is a package of that name.
const GUEST_PROGRAMS: &[&str] = &["guest-agent", "fake-agent"];

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
        let step = progress::section("building programs");
        cargo::run(&mut build_workspace()?)?;
        step.done();
        build_guest_programs()?;
    }
    collect()
}

/// One program, built as those are that are installed on hosts.
///
/// # Errors
/// When the build fails.
pub fn installable(package: &str, no_build: bool) -> Result<PathBuf> {
    if !no_build {
        tools::ensure(tools::COMPILING)?;
        let step = progress::section(format!("building {package} as it would be installed"));
        let mut build = cargo::cargo();
        build.args(["build", "--profile", "dist", "--package", package]);
        cargo::run(&mut build)?;
        step.done();
    }
    Ok(paths::target().join("dist").join(package))
}

/// Everything, up to date, and with it every test program.
///
/// # Errors
/// When a build fails, or packages for the image cannot be had.
pub fn get_with_tests() -> Result<(Products, Vec<TestProgram>)> {
    let tests = tests()?;
    build_guest_programs()?;
    Ok((collect()?, tests))
}

/// Every test program, and the programs that they run.
///
/// # Errors
/// When the build fails.
pub fn tests() -> Result<Vec<TestProgram>> {
    let step = progress::section("building programs and tests");
    let tests = cargo::test_programs(build_workspace()?.arg("--tests"))?;
    step.done();
    Ok(tests)
}

/// One call for all packages: with fewer, features would differ, and much would be built twice.
fn build_workspace() -> Result<Command> {
    tools::ensure(tools::COMPILING)?;
    let mut build = cargo::cargo();
    build.args(["build", "--release", "--workspace", "--bins"]);
    Ok(build)
}

fn build_guest_programs() -> Result<()> {
    let step = progress::section("building the guest's programs");
    let mut build = cargo::cargo_build_static();
    build.args(GUEST_PROGRAMS.iter().flat_map(|name| ["--package", name]));
    cargo::run(&mut build)?;
    step.done();
    Ok(())
}

fn collect() -> Result<Products> {
    let programs = existing_programs();
    let agent = programs.iter().find(|(name, _)| name == "guest-agent");
    let images = agent.map(|(_, path)| image::build(path)).transpose()?;
    Ok(Products { programs, images })
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
            .map(|name| ((*name).to_owned(), directory.join(name)));
        programs.extend(paths.filter(|(_, path)| path.exists()));
    }
    programs
}

impl Products {
    /// A directory of images with the image `clients`, up to date. Only tests ask for it.
    ///
    /// # Errors
    /// When packages for it cannot be had.
    pub fn client_images(&self) -> Result<PathBuf> {
        image::build_clients(self.program("guest-agent")?)
    }

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
