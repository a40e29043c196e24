//! From here to a sandbox.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use protocol::types::v1::FileType;

use super::location::{file_name, join};
use super::remote::Remote;
use crate::error::Error;

/// Permission bits, set-id bits and the sticky bit.
const MODE_BITS: u32 = 0o7777;

/// Writes standard input to a file.
pub async fn standard_input(remote: &Remote<'_>, path: &str) -> Result<(), Error> {
    remote.write(path, None, tokio::io::stdin()).await
}

/// Copies a file, or a directory with all that is in it.
pub async fn tree(remote: &Remote<'_>, from: &Path, to: &str) -> Result<(), Error> {
    let metadata = std::fs::metadata(from).map_err(unreadable(from))?;
    let to = destination(remote, from, to).await?;
    if !metadata.is_dir() {
        return file(remote, from, &to, &metadata).await;
    }
    remote.make_dir(&to, mode(&metadata)).await?;
    let mut directories = vec![(from.to_owned(), to)];
    while let Some((from, to)) = directories.pop() {
        for entry in std::fs::read_dir(&from).map_err(unreadable(&from))? {
            let from = entry.map_err(unreadable(&from))?.path();
            let to = join(&to, name_of(&from)?);
            if entry_is_directory(remote, &from, &to).await? {
                directories.push((from, to));
            }
        }
    }
    Ok(())
}

/// Copies one entry of a directory; says whether it is a directory that is to be gone through.
async fn entry_is_directory(remote: &Remote<'_>, from: &Path, to: &str) -> Result<bool, Error> {
    let metadata = std::fs::symlink_metadata(from).map_err(unreadable(from))?;
    let file_type = metadata.file_type();
    if file_type.is_dir() {
        remote.make_dir(to, mode(&metadata)).await?;
    } else if file_type.is_symlink() {
        let target = std::fs::read_link(from).map_err(unreadable(from))?;
        remote.symlink(utf8(&target)?, to).await?;
    } else if file_type.is_file() {
        file(remote, from, to, &metadata).await?;
    } else {
        eprintln!(
            "thaw: {}: neither file nor directory, left out",
            from.display()
        );
    }
    Ok(file_type.is_dir())
}

async fn file(
    remote: &Remote<'_>,
    from: &Path,
    to: &str,
    metadata: &Metadata,
) -> Result<(), Error> {
    let content = tokio::fs::File::open(from)
        .await
        .map_err(unreadable(from))?;
    remote.write(to, Some(mode(metadata)), content).await
}

/// Where the source itself goes: below the destination when that is a directory.
async fn destination(remote: &Remote<'_>, from: &Path, to: &str) -> Result<String, Error> {
    let existing = remote.stat(to).await?;
    match existing {
        Some(info) if info.r#type() == FileType::Directory => {
            // `.` and `..` have no name of their own.
            let from: PathBuf = from.canonicalize().map_err(unreadable(from))?;
            Ok(join(to, name_of(&from)?))
        }
        None if to.ends_with('/') && file_name(to).is_some() && !from.is_dir() => {
            Err(Error::Usage(format!("{to}: there is no such directory")))
        }
        _ => Ok(to.to_owned()),
    }
}

fn mode(metadata: &Metadata) -> u32 {
    metadata.permissions().mode() & MODE_BITS
}

fn name_of(path: &Path) -> Result<&str, Error> {
    utf8(Path::new(path.file_name().unwrap_or_default()))
}

/// The API's paths are text.
fn utf8(path: &Path) -> Result<&str, Error> {
    path.to_str().ok_or_else(|| {
        Error::Usage(format!(
            "{}: the name is not UTF-8, copy it in an archive",
            path.display()
        ))
    })
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let what = format!("cannot read {}", path.display());
    |source| Error::Local { what, source }
}
