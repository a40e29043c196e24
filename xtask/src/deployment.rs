//! Products on a host: where they are there, and what a command finds in its environment.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{
    host::Host,
    products::{self, Products, Set},
};

/// Products that were brought to a host.
#[derive(Debug)]
pub struct Deployment {
    /// Directory of the programs.
    pub programs: String,
    /// Directory of images, if one was built.
    pub images: Option<String>,
}

impl Deployment {
    /// Brings `products` to `host`.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn new(host: &Host, products: &Products) -> Result<Self> {
        let images = products.images.as_ref().map(|directory| {
            let set: Set = vec![("images".to_owned(), directory.clone())];
            host.shelve(&set).map(|shelf| format!("{shelf}/images"))
        });
        Ok(Self {
            programs: host.shelve(&products.programs)?,
            images: images.transpose()?,
        })
    }

    /// Directory of images.
    ///
    /// # Errors
    /// When no image was built.
    pub fn images(&self) -> Result<&str> {
        self.images
            .as_deref()
            .context("no image was built yet: leave out --no-build")
    }

    /// By these variables tests, benches and people find the products.
    pub fn variables(&self, snapshots: Option<&str>) -> Vec<(String, String)> {
        let images = self.images.clone();
        [
            ("THAW_BIN", Some(self.programs.clone())),
            ("THAW_IMAGES", images),
            ("THAW_SNAPSHOTS", snapshots.map(str::to_owned)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
    }
}

/// Puts the SDKs on a host; the variable that says where they are.
///
/// # Errors
/// When they cannot be had.
pub fn sdks(host: &Host) -> Result<(String, String)> {
    let set: Set = vec![("packages".to_owned(), products::sdks()?)];
    let directory = format!("{}/packages", host.shelve(&set)?);
    Ok(("THAW_SDK_PACKAGES".to_owned(), directory))
}

/// Each file under its own name.
///
/// # Errors
/// When one does not exist.
pub fn by_name(paths: &[PathBuf]) -> Result<Set> {
    let named = |path: &PathBuf| {
        let path = path
            .canonicalize()
            .with_context(|| format!("no {}", path.display()))?;
        let name = path.file_name().context("a directory without a name")?;
        Ok((name.to_string_lossy().into_owned(), path.clone()))
    };
    paths.iter().map(named).collect()
}
