//! How many threads a job gets.

use std::num::NonZeroUsize;
use std::thread;

/// More threads than this only add memory.
const MAX_THREADS: usize = 64;

/// `asked`, or one thread per core; never more than there are `jobs`, and at least one.
pub(crate) fn thread_count(asked: Option<NonZeroUsize>, jobs: usize) -> usize {
    asked
        .or_else(|| thread::available_parallelism().ok())
        .map_or(1, NonZeroUsize::get)
        .min(MAX_THREADS)
        .min(jobs)
        .max(1)
}
