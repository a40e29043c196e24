//! The one event of the entropy device: the guest wants bytes.

use super::request;
use crate::virtio::{DeviceIo, QueueError};

/// Fills every buffer that the guest has made available.
pub fn on_queue(queue: usize, io: &mut DeviceIo<'_>) -> Result<(), QueueError> {
    let Some((memory, queue)) = io.queue(queue) else {
        return Ok(());
    };
    queue.drain(memory, |chain| {
        request::fill(memory, chain).unwrap_or_else(|error| {
            tracing::debug!(%error, "entropy request");
            0
        })
    })
}
