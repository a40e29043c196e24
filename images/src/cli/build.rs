//! `images build`

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::Args;
use images::{
    build::{assemble, make_disks},
    kernel::package::KernelTree,
    recipe::{self, Recipe},
};

/// Build an image from Debian packages.
///
/// Needs mmdebstrap, mkfs.erofs, mke2fs and depmod. Works without root where unprivileged user
/// namespaces are allowed.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Directory of images: the image becomes OUTPUT/NAME, and takes the place of an older one.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// What the image is made of [default: the recipe `default`].
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// The static guest agent [default: guest-agent beside this program].
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// When packages cannot be had, or files cannot be written.
pub fn run(arguments: &Arguments) -> Result<()> {
    let text = match &arguments.recipe {
        Some(path) => fs::read_to_string(path).with_context(|| path.display().to_string())?,
        None => recipe::DEFAULT.to_owned(),
    };
    let recipe = Recipe::parse(&text)?;
    let agent = arguments
        .agent
        .clone()
        .map_or_else(beside_this_program, Ok)?;
    fs::metadata(&agent).with_context(|| format!("no guest agent at {}", agent.display()))?;

    fs::create_dir_all(&arguments.output)?;
    let work = tempfile::tempdir_in(&arguments.output)?;
    let part = |name| -> io::Result<PathBuf> {
        let path = work.path().join(name);
        fs::create_dir(&path)?;
        Ok(path)
    };
    let (kernel, disks, image) = (part("kernel")?, part("disks")?, part("image")?);
    eprintln!("fetching the kernel");
    let kernel = KernelTree::fetch(&recipe.kernel, &kernel)?;
    eprintln!("installing {} packages", recipe.packages.len());
    make_disks(&recipe, &disks)?;
    eprintln!("putting the image together");
    assemble(
        &recipe,
        &kernel,
        &disks,
        &agent,
        env!("CARGO_PKG_VERSION"),
        &image,
    )?;

    let target = arguments.output.join(&recipe.name);
    replace(&image, &target).with_context(|| format!("cannot write {}", target.display()))?;
    println!("{}", target.display());
    Ok(())
}

fn beside_this_program() -> Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("guest-agent"))
}

fn replace(source: &Path, target: &Path) -> io::Result<()> {
    if target.exists() {
        fs::remove_dir_all(target)?;
    }
    fs::rename(source, target)
}
