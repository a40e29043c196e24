//! What the tests run against, found by environment variables.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

/// Why a test cannot run here. Not a failure, unless the machine was said to be able.
#[derive(Clone, Debug)]
pub struct Missing(String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

impl Missing {
    /// A reason in a few words.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// Binaries, images and snapshots.
#[derive(Clone, Debug)]
pub struct Products {
    /// Directory with the binaries.
    pub bin: PathBuf,
    /// Directory of images.
    pub images: PathBuf,
    /// Read-only snapshot store.
    pub snapshots: PathBuf,
}

/// Whether a test that cannot run has failed.
pub fn must_run() -> bool {
    std::env::var_os("THAW_MUST_RUN").is_some_and(|value| value == "1")
}

impl Products {
    /// Looks once, at the files and at KVM.
    pub fn find() -> Result<&'static Self, Missing> {
        static FOUND: OnceLock<Result<Products, Missing>> = OnceLock::new();
        FOUND.get_or_init(Self::look).as_ref().map_err(Clone::clone)
    }

    /// One of the binaries.
    pub fn binary(&self, name: &str) -> Result<PathBuf, Missing> {
        let path = self.bin.join(name);
        match path.is_file() {
            true => Ok(path),
            false => Err(Missing(format!(
                "no {name} at {} (THAW_BIN)",
                path.display()
            ))),
        }
    }

    /// Directory with the image `clients`.
    pub fn client_images(&self) -> Result<PathBuf, Missing> {
        let directory = std::env::var_os("THAW_CLIENT_IMAGES").map(PathBuf::from);
        directory.ok_or_else(|| Missing::new("no image with client programs (THAW_CLIENT_IMAGES)"))
    }

    fn look() -> Result<Self, Missing> {
        let directory = |name: &str, default: &Path| {
            std::env::var_os(name).map_or_else(|| default.to_owned(), PathBuf::from)
        };
        let products = Self {
            bin: directory("THAW_BIN", &profile_directory()),
            images: directory("THAW_IMAGES", Path::new("/var/lib/thaw/images")),
            snapshots: directory("THAW_SNAPSHOTS", Path::new("/var/lib/thaw/snapshots")),
        };
        products.binary("hostd")?;
        probe_kvm(&products.binary("vmm")?)?;
        let image = products.images.join("default/image.json");
        if !image.is_file() {
            return Err(Missing(format!(
                "no image at {} (THAW_IMAGES)",
                image.display()
            )));
        }
        Ok(products)
    }
}

/// Where cargo puts binaries: test binaries are in its `deps`.
fn profile_directory() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let directory = own.parent().unwrap_or(Path::new("."));
    match directory.ends_with("deps") {
        true => directory.parent().unwrap_or(directory).to_owned(),
        false => directory.to_owned(),
    }
}

/// A `/dev/kvm` that exists may still be unfit; the vmm measures it with a guest.
fn probe_kvm(vmm: &Path) -> Result<(), Missing> {
    let output = Command::new(vmm)
        .arg("--probe")
        .output()
        .map_err(|error| Missing(format!("cannot run {}: {error}", vmm.display())))?;
    let report: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| Missing(format!("vmm --probe does not answer in JSON: {error}")))?;
    if report["kvm"] == "ok" {
        return Ok(());
    }
    let why = report["reason"].as_str().unwrap_or("no reason given");
    Err(Missing(format!("KVM is unfit here: {why}")))
}
