//! All of a memory file, on several threads.

use std::num::NonZeroUsize;
use std::panic;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::reader::FETCH_CHUNKS;
use super::{MemoryError, MemoryReader, Pages};
use crate::threads::thread_count;

impl MemoryReader {
    /// Shows every chunk that has pages to `visit`, in no particular order, on `threads` threads
    /// (`None`: one per core), the calling one included. Stops early after an error.
    pub fn for_each<E: From<MemoryError> + Send>(
        &self,
        threads: Option<NonZeroUsize>,
        visit: impl Fn(Pages<'_>) -> Result<(), E> + Sync,
    ) -> Result<(), E> {
        let count = self.chunk_count();
        let batches = count.div_ceil(FETCH_CHUNKS);
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let work = || {
            let mut chunks = self.chunks()?;
            while !failed.load(Ordering::Relaxed) {
                let start = next.fetch_add(FETCH_CHUNKS, Ordering::Relaxed);
                if start >= count {
                    break;
                }
                let batch = start..(start + FETCH_CHUNKS).min(count);
                chunks.fetch(batch.clone())?;
                for chunk in batch {
                    let pages = chunks.pages(chunk)?;
                    if pages.present != 0 {
                        visit(pages)?;
                    }
                }
            }
            Ok(())
        };
        let work = || work().inspect_err(|_: &E| failed.store(true, Ordering::Relaxed));
        thread::scope(|scope| {
            let others: Vec<_> = (1..thread_count(threads, batches))
                .map(|_| scope.spawn(work))
                .collect();
            let own = work();
            others.into_iter().fold(own, |all, other| {
                // A panic goes on in the thread that asked for the work.
                all.and(
                    other
                        .join()
                        .unwrap_or_else(|payload| panic::resume_unwind(payload)),
                )
            })
        })
    }

    /// Reads and checks every frame, on all cores.
    pub fn verify(&self) -> Result<(), MemoryError> {
        self.for_each(None, |_| Ok(()))
    }
}
