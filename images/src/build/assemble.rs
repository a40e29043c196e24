//! Puts an image directory together.

use std::{fs, io, path::Path};

use super::{Error, at, initramfs};
use crate::{
    description::{self, BZIMAGE, Description, INITRAMFS, KERNEL, ROOT_DISK, SCRATCH_DISK},
    kernel::package::KernelTree,
    recipe::Recipe,
};

/// Makes the image of `recipe` in `output`, an empty directory, from `kernel`, from the disks that
/// [`super::make_disks`] made in `disks`, and from `agent`, a static program. `agent_version` is
/// noted in the description.
///
/// # Errors
/// [`Error`] when a part cannot be read or written.
pub fn assemble(
    recipe: &Recipe,
    kernel: &KernelTree,
    disks: &Path,
    agent: &Path,
    agent_version: &str,
    output: &Path,
) -> Result<(), Error> {
    for (source, name) in [
        (disks.join(ROOT_DISK), ROOT_DISK),
        (disks.join(SCRATCH_DISK), SCRATCH_DISK),
        (kernel.vmlinux(), KERNEL),
        (kernel.bzimage(), BZIMAGE),
    ] {
        let target = output.join(name);
        link_or_copy(&source, &target).map_err(at(target))?;
    }
    initramfs::write(recipe, kernel, agent, &output.join(INITRAMFS))?;
    let description = Description::of(recipe, kernel.release(), agent_version, output)?;
    description::write(&description, output)?;
    Ok(())
}

/// A second name for the same file where that is possible: disks are large.
fn link_or_copy(source: &Path, target: &Path) -> io::Result<()> {
    if fs::hard_link(source, target).is_err() {
        fs::copy(source, target)?;
    }
    Ok(())
}
