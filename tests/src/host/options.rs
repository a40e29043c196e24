//! How a hostd is started.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::products::{Missing, Products};

/// How a hostd is started.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// The program.
    pub hostd: PathBuf,
    /// The vmm that it starts.
    pub vmm: PathBuf,
    /// Directories of images.
    pub images: Vec<PathBuf>,
    /// Read-only snapshot stores.
    pub snapshots: Vec<PathBuf>,
    /// More arguments.
    pub extra: Vec<OsString>,
}

/// How many vmm processes it keeps started.
pub(super) const VMM_POOL: usize = 2;

impl HostOptions {
    /// With the images, and no snapshot but what the test will take.
    pub fn new(products: &Products) -> Result<Self, Missing> {
        Ok(Self {
            hostd: products.binary("hostd")?,
            vmm: products.binary("vmm")?,
            images: vec![products.images.clone()],
            snapshots: Vec::new(),
            extra: Vec::new(),
        })
    }

    /// With the images and the snapshot `default`.
    pub fn with_default_snapshot(products: &Products) -> Result<Self, Missing> {
        if !products.snapshots.is_dir() {
            let path = products.snapshots.display();
            return Err(Missing::new(format!(
                "no snapshots at {path} (THAW_SNAPSHOTS)"
            )));
        }
        Ok(Self {
            snapshots: vec![products.snapshots.clone()],
            ..Self::new(products)?
        })
    }

    /// The command line of one that lives in `directory`.
    pub(super) fn arguments(&self, directory: &Path, socket: &Path) -> Vec<OsString> {
        let mut arguments = Vec::new();
        let mut option = |name: &str, value: OsString| arguments.extend([name.into(), value]);
        option("--state-dir", directory.join("state").into());
        option("--vmm", self.vmm.clone().into());
        option("--listen", format!("unix:{}", socket.display()).into());
        option("--vmm-pool", VMM_POOL.to_string().into());
        for images in &self.images {
            option("--images", images.into());
        }
        for snapshots in &self.snapshots {
            option("--snapshots", snapshots.into());
        }
        arguments.extend(self.extra.iter().cloned());
        arguments
    }
}
