//! The balloon's events: pages given, taken back, or reported free.

use super::{Balloon, pages};
use crate::virtio::{DeviceIo, QueueError};

const INFLATE: usize = 0;
// Queue 1 deflates.
const REPORT: usize = 2;

impl Balloon {
    pub(super) fn handle_queue(
        &mut self,
        index: usize,
        io: &mut DeviceIo<'_>,
    ) -> Result<(), QueueError> {
        let Some((memory, queue)) = io.queue(index) else {
            return Ok(());
        };
        let reclaim = self.reclaim.as_ref();
        queue.drain(memory, |chain| {
            match index {
                INFLATE => pages::inflate(memory, chain, reclaim),
                REPORT => pages::report(memory, chain, reclaim),
                // Deflating: pages taken back are filled by the first touch.
                _ => {}
            }
            0
        })
    }
}
