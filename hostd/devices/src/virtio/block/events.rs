//! The disk's one event: the guest has requests.

use super::request::{Disk, Request};
use super::{BOUNCE_BYTES, Block};
use crate::virtio::{DeviceIo, QueueError};

impl Block {
    pub(super) fn handle_queue(
        &mut self,
        queue: usize,
        io: &mut DeviceIo<'_>,
    ) -> Result<(), QueueError> {
        let Some((memory, queue)) = io.queue(queue) else {
            return Ok(());
        };
        if self.bounce.is_empty() {
            // Fresh zeros from the kernel: no page of it is touched before it is used.
            self.bounce = vec![0; BOUNCE_BYTES];
        }
        let mut disk = Disk {
            sectors: self.sectors(),
            backend: self.backend.as_mut(),
            id: &self.id,
            bounce: &mut self.bounce,
        };
        queue.drain(memory, |chain| match Request::parse(memory, chain) {
            Ok(request) => request.execute(&mut disk),
            Err(error) => {
                tracing::debug!(%error, "disk request");
                0
            }
        })
    }
}
