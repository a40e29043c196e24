//! Idle vmm processes, so that starting one does not count in Create.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::VmmError;
use super::process::{Launcher, Vmm};

/// A new process is started this long after one was taken, so that it does not compete with the restore
/// that took it.
const REFILL_DELAY: Duration = Duration::from_millis(50);
/// When a process cannot be started, the next try comes after this.
const RETRY_DELAY: Duration = Duration::from_secs(2);

/// The pool. Cheap to clone.
#[derive(Clone, Debug)]
pub struct VmmPool {
    shared: Arc<Shared>,
    filler: Arc<Mutex<Option<JoinHandle<()>>>>,
}

#[derive(Debug)]
struct Shared {
    launcher: Launcher,
    size: usize,
    idle: Mutex<VecDeque<Vmm>>,
    taken: Notify,
    closed: CancellationToken,
}

impl VmmPool {
    /// Starts filling a pool of `size` processes, which may be 0. Needs a tokio runtime.
    pub fn start(launcher: Launcher, size: usize) -> Self {
        let shared = Arc::new(Shared {
            launcher,
            size,
            idle: Mutex::default(),
            taken: Notify::new(),
            closed: CancellationToken::new(),
        });
        let filler = tokio::spawn(keep_full(shared.clone()));
        Self {
            shared,
            filler: Arc::new(Mutex::new(Some(filler))),
        }
    }

    /// An idle process, or a new one when there is none.
    ///
    /// # Errors
    /// None can be started, or the pool is closed.
    pub fn take(&self) -> Result<Vmm, VmmError> {
        if self.shared.closed.is_cancelled() {
            return Err(VmmError::Closed);
        }
        let ready = {
            let mut idle = self.shared.idle();
            std::iter::from_fn(|| idle.pop_front()).find(Vmm::is_alive)
        };
        self.shared.taken.notify_one();
        ready.map_or_else(|| self.shared.launcher.launch(), Ok)
    }

    /// Ends every idle process and starts no more.
    pub async fn close(&self) {
        self.shared.closed.cancel();
        let filler = self
            .filler
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(filler) = filler {
            // Then it adds none. It has nothing to return, and does not panic.
            let _ = filler.await;
        }
        let idle = std::mem::take(&mut *self.shared.idle());
        futures::future::join_all(idle.into_iter().map(Vmm::destroy)).await;
    }
}

impl Shared {
    fn idle(&self) -> std::sync::MutexGuard<'_, VecDeque<Vmm>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts what is missing. `false` when a start failed.
    fn fill(&self) -> bool {
        while !self.closed.is_cancelled() && self.idle().len() < self.size {
            match self.launcher.launch() {
                Ok(vmm) => self.idle().push_back(vmm),
                Err(error) => {
                    tracing::error!(error = %crate::error::chain(&error), "cannot start a vmm in advance");
                    return false;
                }
            }
        }
        true
    }
}

async fn keep_full(shared: Arc<Shared>) {
    loop {
        let pause = if shared.fill() {
            REFILL_DELAY
        } else {
            RETRY_DELAY
        };
        tokio::select! {
            () = shared.closed.cancelled() => return,
            () = async {
                shared.taken.notified().await;
                tokio::time::sleep(pause).await;
            } => {}
        }
    }
}
