//! Writing the merged layer.

use std::fs::File;

use super::layered::{Layer, LayeredDisk, Source};
use super::{BLOCK_BYTES, DiskError, bitmap, sparse};

/// Writes what `disk` has above its base to two empty files.
pub(super) fn save(
    disk: &LayeredDisk,
    overlay: &Layer,
    data: &File,
    bitmap: &File,
) -> Result<(), DiskError> {
    ensure_empty(data, "layer's data")?;
    let count = overlay.blocks.len();
    data.set_len(count * BLOCK_BYTES)
        .map_err(DiskError::io("size the layer's data"))?;
    let mut merged = overlay.blocks.clone();
    if let Some(layer) = &disk.layer {
        merged.insert_all(&layer.blocks);
    }
    for run in merged.runs(0..count) {
        let mut at = run.start;
        while at < run.end {
            let (source, end) = disk.source(overlay, at, run.end);
            let from = match (source, &disk.layer) {
                (Source::Layer, Some(layer)) => &layer.data,
                _ => &overlay.data,
            };
            sparse::copy(from, data, at * BLOCK_BYTES..end * BLOCK_BYTES)
                .map_err(DiskError::io("copy a disk layer"))?;
            at = end;
        }
    }
    bitmap::write(bitmap, disk.len, &merged)
}

/// A file that something is to be written to must not hold anything else.
pub(super) fn ensure_empty(file: &File, name: &'static str) -> Result<(), DiskError> {
    let found = file
        .metadata()
        .map_err(DiskError::io("look at a disk's file"))?
        .len();
    if found == 0 {
        Ok(())
    } else {
        Err(DiskError::NotEmpty { file: name, found })
    }
}
