//! From a sandbox to here.
//!
//! **Invariant:** a sandbox is not trusted. Whatever it calls its files, nothing is written
//! outside the destination: a name is one path component, no link that came with the copy
//! is gone through (all are made last), one that was here before is refused, and set-id
//! bits stay behind.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use protocol::types::v1::{FileInfo, FileType};
use tempfile::NamedTempFile;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::location::{file_name, join};
use super::remote::Remote;
use crate::error::Error;

/// A copy keeps these bits, and not those that would run it as somebody else.
const MODE_BITS: u32 = 0o777;
/// While a directory is being filled.
const PRIVATE: u32 = 0o700;
/// Directories in directories; more is no honest tree.
const MAX_DEPTH: usize = 256;

/// Writes a file's content to standard output.
pub async fn standard_output(remote: &Remote<'_>, path: &str) -> Result<(), Error> {
    content(remote, path, &mut tokio::io::stdout(), Error::stdout).await
}

/// Copies a file, or a directory with all that is in it.
pub async fn tree(remote: &Remote<'_>, from: &str, to: &Path) -> Result<(), Error> {
    let info = remote
        .stat(from)
        .await?
        .ok_or_else(|| Error::Usage(format!("{from}: no such file or directory in the sandbox")))?;
    let to = destination(from, to)?;
    match info.r#type() {
        FileType::Directory => directory(remote, &info, from, &to).await,
        FileType::Regular if exists_but_is_no_file(&to) => {
            let failed = unwritable(&to);
            let open = tokio::fs::File::options().write(true).open(&to).await;
            content(remote, from, &mut open.map_err(unwritable(&to))?, failed).await
        }
        FileType::Regular => file(remote, from, &to, info.mode).await,
        _ => Err(Error::Usage(format!("{from}: neither file nor directory"))),
    }
}

/// What is to be done after all files are in place.
#[derive(Default)]
struct Later {
    links: Vec<(String, PathBuf)>,
    modes: Vec<(PathBuf, u32)>,
}

async fn directory(
    remote: &Remote<'_>,
    info: &FileInfo,
    from: &str,
    to: &Path,
) -> Result<(), Error> {
    let mut later = Later::default();
    make_dir(to, info.mode, &mut later)?;
    let mut directories = vec![(from.to_owned(), to.to_owned(), 1)];
    while let Some((from, to, depth)) = directories.pop() {
        for entry in remote.list(&from).await? {
            let Some(name) = entry_name(&entry) else {
                eprintln!("thaw: {:?}: no name for a file here, left out", entry.path);
                continue;
            };
            let (from, to) = (join(&from, name), to.join(name));
            match entry.r#type() {
                FileType::Regular => file(remote, &from, &to, entry.mode).await?,
                FileType::Symlink => later.links.push((entry.symlink_target, to)),
                FileType::Directory if depth < MAX_DEPTH => {
                    make_dir(&to, entry.mode, &mut later)?;
                    directories.push((from, to, depth + 1));
                }
                _ => eprintln!("thaw: {from:?}: neither file nor directory, left out"),
            }
        }
    }
    finish(later)
}

/// Makes the links, then sets the modes of directories, the innermost first.
fn finish(later: Later) -> Result<(), Error> {
    for (target, path) in later.links {
        link(&target, &path).map_err(unwritable(&path))?;
    }
    for (path, mode) in later.modes.into_iter().rev() {
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(unwritable(&path))?;
    }
    Ok(())
}

fn link(target: &str, path: &Path) -> io::Result<()> {
    match symlink(target, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(path)?;
            symlink(target, path)
        }
        made => made,
    }
}

/// Makes a directory, or takes one that is here already; never a link to one.
fn make_dir(path: &Path, mode: u32, later: &mut Later) -> Result<(), Error> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let metadata = std::fs::symlink_metadata(path).map_err(unwritable(path))?;
            if !metadata.is_dir() {
                return Err(unwritable(path)(error));
            }
        }
        made => made.map_err(unwritable(path))?,
    }
    std::fs::set_permissions(path, Permissions::from_mode(PRIVATE)).map_err(unwritable(path))?;
    later.modes.push((path.to_owned(), mode & MODE_BITS));
    Ok(())
}

/// Writes a file beside its place and moves it there when it is whole.
async fn file(remote: &Remote<'_>, from: &str, to: &Path, mode: u32) -> Result<(), Error> {
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    let temporary =
        NamedTempFile::new_in(parent.unwrap_or(Path::new("."))).map_err(unwritable(to))?;
    let handle = temporary.reopen().map_err(unwritable(to))?;
    let mut writer = tokio::fs::File::from_std(handle);
    content(remote, from, &mut writer, unwritable(to)).await?;
    let permissions = Permissions::from_mode(mode & MODE_BITS);
    std::fs::set_permissions(temporary.path(), permissions).map_err(unwritable(to))?;
    let moved = temporary.persist(to).map_err(|error| error.error);
    moved.map(drop).map_err(unwritable(to))
}

async fn content(
    remote: &Remote<'_>,
    from: &str,
    to: &mut (impl AsyncWrite + Unpin),
    failed: impl FnOnce(io::Error) -> Error,
) -> Result<(), Error> {
    let mut chunks = remote.read(from).await?;
    while let Some(chunk) = chunks.message().await.map_err(remote.refused(from))? {
        if let Err(error) = to.write_all(&chunk.data).await {
            return Err(failed(error));
        }
    }
    to.flush().await.map_err(failed)
}

/// Where the source itself goes: below the destination when that is a directory, and
/// through it when it is a link.
fn destination(from: &str, to: &Path) -> Result<PathBuf, Error> {
    if to.is_dir() {
        let name = file_name(from)
            .ok_or_else(|| Error::Usage(format!("{from} has no name: name the destination")))?;
        return Ok(to.join(name));
    }
    match to.symlink_metadata() {
        Ok(metadata) if metadata.is_symlink() => to.canonicalize().map_err(unwritable(to)),
        _ => Ok(to.to_owned()),
    }
}

fn exists_but_is_no_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| !metadata.is_file())
}

/// The entry's last name, when it is one that a file can have here.
fn entry_name(entry: &FileInfo) -> Option<&str> {
    let is_exact = entry.raw_path.is_empty() || entry.raw_path == entry.path.as_bytes();
    let name = entry.path.rsplit('/').next()?;
    let mut components = Path::new(name).components();
    let is_plain = matches!(components.next(), Some(Component::Normal(only)) if only == name)
        && components.next().is_none();
    Some(name).filter(|name| is_exact && is_plain && !name.contains('\0'))
}

fn unwritable(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let what = format!("cannot write {}", path.display());
    |source| Error::Local { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(path: &str) -> Option<String> {
        let entry = FileInfo {
            path: path.to_owned(),
            ..FileInfo::default()
        };
        entry_name(&entry).map(str::to_owned)
    }

    #[test]
    fn names_are_one_component() {
        assert_eq!(name("/a/b").as_deref(), Some("b"));
        assert_eq!(name("b").as_deref(), Some("b"));
        for bad in ["", "/", "/a/", "/a/..", "..", "/a/.", "/a/\0b"] {
            assert_eq!(name(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_link_is_no_directory() {
        let here = tempfile::tempdir().unwrap();
        let path = here.path().join("link");
        symlink("/tmp", &path).unwrap();
        assert!(make_dir(&path, 0o755, &mut Later::default()).is_err());
        make_dir(&here.path().join("new"), 0o755, &mut Later::default()).unwrap();
    }

    #[test]
    fn a_directory_takes_the_name() {
        let here = tempfile::tempdir().unwrap();
        let to = destination("/a/b", here.path()).unwrap();
        assert_eq!(to, here.path().join("b"));
        assert!(destination("/", here.path()).is_err());
    }
}
