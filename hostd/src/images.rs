//! Installed images: `IMAGES/<name>/image.json` and the files it names.
//!
//! An image's id is the SHA-256 of its `image.json`, which holds the digests of all its files; snapshots name their
//! image by it. Sizes are checked whenever an image is opened. Digests are for `images verify`: hashing a root file
//! system takes longer than restoring a sandbox from it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::error::{Context, Error, Result};

/// The version of `image.json` that is understood.
const FORMAT_VERSION: u32 = 1;
/// `image.json` has some ten lines.
const MAX_DESCRIPTION_BYTES: u64 = 64 << 10;
/// Image names, like snapshot names.
const MAX_NAME_LEN: usize = 63;

/// Where images are looked for.
#[derive(Clone, Debug)]
pub struct Images {
    directories: Vec<PathBuf>,
}

/// An image whose description has been read.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its name.
    pub name: String,
    /// SHA-256 of `image.json`, in hexadecimal.
    pub id: String,
    /// What a machine gets when nobody says otherwise.
    pub defaults: Defaults,
    directory: PathBuf,
    files: Files,
}

/// What a machine gets when nobody says otherwise.
#[derive(Clone, Debug, Deserialize)]
pub struct Defaults {
    /// Kernel command line.
    pub cmdline: String,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Guest memory in bytes.
    pub memory_bytes: u64,
}

/// The disks of an image, open. Both are shared by every sandbox and never written to.
#[derive(Debug)]
pub struct ImageDisks {
    /// /dev/vda.
    pub root: OwnedFd,
    /// Under /dev/vdb.
    pub scratch: OwnedFd,
}

#[derive(Clone, Debug, Deserialize)]
struct Files {
    kernel: FileEntry,
    initramfs: FileEntry,
    root_disk: FileEntry,
    scratch_disk: FileEntry,
}

#[derive(Clone, Debug, Deserialize)]
struct FileEntry {
    file: String,
    size: u64,
}

/// `image.json`; what hostd does not need of it is left out.
#[derive(Deserialize)]
struct Description {
    format_version: u32,
    name: String,
    #[serde(flatten)]
    files: Files,
    defaults: Defaults,
}

impl Images {
    /// Looks in these directories, the first one first.
    pub fn new(directories: Vec<PathBuf>) -> Self {
        Self { directories }
    }

    /// The image with this name. Blocks for reading a small file.
    pub fn by_name(&self, name: &str) -> Result<Image> {
        if !is_name(name) {
            return Err(Error::ImageNotFound(
                name.chars().take(MAX_NAME_LEN).collect(),
            ));
        }
        let candidates = self
            .directories
            .iter()
            .map(|directory| directory.join(name));
        let found = candidates
            .into_iter()
            .find(|directory| directory.join("image.json").is_file());
        let directory = found.ok_or_else(|| Error::ImageNotFound(name.to_owned()))?;
        Image::read(&directory).map_err(|problem| Error::ImageUnusable {
            image: name.to_owned(),
            problem,
        })
    }

    /// The image with this id, whatever its name. `hint` is the name it had.
    pub fn by_id(&self, id: &str, hint: &str) -> Result<Image> {
        if let Some(image) = self.by_name(hint).ok().filter(|image| image.id == id) {
            return Ok(image);
        }
        self.all()
            .into_values()
            .find(|image| image.id == id)
            .ok_or_else(|| {
                let short: String = id.chars().take(12).collect();
                Error::ImageNotFound(format!("{hint} ({short})"))
            })
    }

    /// All usable images by name.
    pub fn all(&self) -> BTreeMap<String, Image> {
        let mut images = BTreeMap::new();
        for entry in self
            .directories
            .iter()
            .filter_map(|directory| fs::read_dir(directory).ok())
            .flatten()
            .flatten()
        {
            if let Ok(image) = Image::read(&entry.path()) {
                images.entry(image.name.clone()).or_insert(image);
            }
        }
        images
    }
}

impl Image {
    fn read(directory: &Path) -> Result<Self, String> {
        let mut bytes = Vec::new();
        let file = open_regular(&directory.join("image.json"))
            .map_err(|error| format!("image.json: {error}"))?;
        file.take(MAX_DESCRIPTION_BYTES)
            .read_to_end(&mut bytes)
            .map_err(|error| format!("image.json: {error}"))?;
        let description: Description =
            serde_json::from_slice(&bytes).map_err(|error| format!("image.json: {error}"))?;
        if description.format_version != FORMAT_VERSION {
            return Err(format!(
                "format version {} is not {FORMAT_VERSION}",
                description.format_version
            ));
        }
        if !is_name(&description.name) {
            return Err("its name is not a name".into());
        }
        Ok(Self {
            name: description.name,
            id: hex(&Sha256::digest(&bytes)),
            defaults: description.defaults,
            directory: directory.to_owned(),
            files: description.files,
        })
    }

    /// Lengths in bytes of /dev/vda and /dev/vdb.
    pub fn disk_bytes(&self) -> [u64; 2] {
        [self.files.root_disk.size, self.files.scratch_disk.size]
    }

    /// Opens the kernel and the initramfs.
    pub fn open_kernel(&self) -> Result<(OwnedFd, OwnedFd)> {
        Ok((
            self.open(&self.files.kernel)?,
            self.open(&self.files.initramfs)?,
        ))
    }

    /// Opens the disks.
    pub fn open_disks(&self) -> Result<ImageDisks> {
        Ok(ImageDisks {
            root: self.open(&self.files.root_disk)?,
            scratch: self.open(&self.files.scratch_disk)?,
        })
    }

    fn open(&self, entry: &FileEntry) -> Result<OwnedFd> {
        let unusable = |problem: String| Error::ImageUnusable {
            image: self.name.clone(),
            problem,
        };
        // A description may come from elsewhere: it names files beside itself and nothing else.
        if entry.file.contains('/') || entry.file.starts_with('.') {
            return Err(unusable(format!("{:?} is not a file name", entry.file)));
        }
        let file = open_regular(&self.directory.join(&entry.file))
            .map_err(|error| unusable(format!("{}: {error}", entry.file)))?;
        let found = file
            .metadata()
            .doing(|| format!("looking at image file {}", entry.file))?
            .len();
        if found != entry.size {
            return Err(unusable(format!(
                "{} has {found} bytes, {} are expected",
                entry.file, entry.size
            )));
        }
        Ok(file.into())
    }
}

fn open_regular(path: &Path) -> io::Result<File> {
    // Not to hang on a fifo that somebody put there.
    let file = File::options()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    Ok(file)
}

fn is_name(name: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    (1..=MAX_NAME_LEN).contains(&name.len())
        && name.bytes().all(allowed)
        && !name.starts_with(['.', '_', '-'])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
