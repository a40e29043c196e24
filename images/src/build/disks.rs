//! The two disks of a guest.

use std::{fs::File, path::Path};

use super::{Error, at};
use crate::{
    command::{command, run},
    debian::bootstrap,
    description::{ROOT_DISK, SCRATCH_DISK},
    recipe::Recipe,
};

/// Fixed, so that equal recipes make equal disks. Nothing looks a disk up by it.
const FILE_SYSTEM_ID: &str = "7468a700-0000-4000-8000-000000000001";

/// Takes away what a system gets when it is installed and each sandbox gets for itself.
const CLEAN: &str = r#": >"$1/etc/machine-id" && echo sandbox >"$1/etc/hostname" \
    && printf '127.0.0.1 localhost\n::1 localhost\n' >"$1/etc/hosts" \
    && : >"$1/etc/resolv.conf""#;

/// Makes the root file system and the empty writable disk of `recipe` in `directory`.
///
/// # Errors
/// [`Error`] when packages cannot be had, or a file system cannot be made.
pub fn make_disks(recipe: &Recipe, directory: &Path) -> Result<(), Error> {
    let packages: Vec<&str> = recipe.packages.iter().map(String::as_str).collect();
    let work = tempfile::tempdir_in(directory).map_err(at(directory))?;
    let pack = bootstrap::pack_erofs(&directory.join(ROOT_DISK), work.path());
    let hooks = [CLEAN.to_owned(), pack.map_err(at(work.path()))?];
    bootstrap::install(&packages, &hooks, work.path())?;
    make_scratch(&directory.join(SCRATCH_DISK), recipe.scratch_mib)
}

/// An ext4 file system in a sparse file. Its inode tables count as zeroed, because the file's
/// holes are: otherwise a kernel thread in every guest would zero them, in its own layer.
fn make_scratch(path: &Path, mib: u64) -> Result<(), Error> {
    File::create(path)
        .and_then(|file| file.set_len(mib << 20))
        .map_err(at(path))?;
    let extended = format!(
        "lazy_itable_init=1,assume_storage_prezeroed=1,nodiscard,root_owner=0:0,hash_seed={FILE_SYSTEM_ID}"
    );
    let mut mke2fs = command("mke2fs");
    mke2fs
        .args(["-q", "-F", "-t", "ext4", "-m", "0", "-U", FILE_SYSTEM_ID])
        // A small journal is written over and over and so stays small in every layer.
        .args(["-J", "size=8", "-E", &extended])
        // mke2fs takes the time of everything that it writes from here.
        .env("E2FSPROGS_FAKE_TIME", "1")
        .arg(path);
    run(&mut mke2fs)?;
    Ok(())
}
