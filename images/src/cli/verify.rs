//! `images verify`

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use images::description;

/// Compare every file of an image with its description.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The image's directory: the one with image.json.
    image: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// When a file is not what it was.
pub fn run(arguments: &Arguments) -> Result<()> {
    let description = description::verify(&arguments.image)?;
    println!("{}: every file is what it was", description.name);
    Ok(())
}
