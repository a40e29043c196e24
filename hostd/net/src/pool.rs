//! Networks made ahead of time.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::error::{During, Error, Step};
use crate::network::Network;

/// How long the pool waits after a failure before it tries again; doubled after each that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A number of networks, refilled by one thread in the background.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    refiller: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    size: usize,
    state: Mutex<State>,
    /// There is room, or the pool ends.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Network>,
    ended: bool,
}

impl Pool {
    /// Starts to make `size` networks, and keeps as many ready. With a size of zero each is made when it
    /// is asked for.
    ///
    /// # Errors
    /// There can be no thread.
    pub fn new(size: usize) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            size,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let refiller = thread::Builder::new()
            .name("networks".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.refill()
            })
            .during(Step::Thread)?;
        Ok(Self {
            shared,
            refiller: Some(refiller),
        })
    }

    /// A network that nobody had before: one that is ready, or else one made now, for which this blocks
    /// some milliseconds.
    ///
    /// # Errors
    /// None is ready and none can be made.
    pub fn take(&self) -> Result<Network, Error> {
        let ready = self.shared.lock().ready.pop_front();
        match ready {
            Some(network) => {
                self.shared.changed.notify_one();
                Ok(network)
            }
            None => Network::make(),
        }
    }

    /// How many networks are ready.
    pub fn ready(&self) -> usize {
        self.shared.lock().ready.len()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_one();
        if let Some(refiller) = self.refiller.take()
            && refiller.join().is_err()
        {
            tracing::error!("the thread that makes networks had panicked");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked did so between two changes: both fields are always valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: makes a network whenever there is room for one, until the pool ends.
    fn refill(&self) {
        let mut pause = FIRST_PAUSE;
        while self.wait_for_room() {
            match Network::make() {
                Ok(network) => {
                    self.lock().ready.push_back(network);
                    pause = FIRST_PAUSE;
                }
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "no network could be made"
                    );
                    self.wait(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Whether there is room; not, when the pool has ended.
    fn wait_for_room(&self) -> bool {
        let full = |state: &mut State| !state.ended && state.ready.len() >= self.size;
        let state = self
            .changed
            .wait_while(self.lock(), full)
            .unwrap_or_else(PoisonError::into_inner);
        !state.ended
    }

    /// Waits for `pause`, or for the pool's end.
    fn wait(&self, pause: Duration) {
        let waiting = |state: &mut State| !state.ended;
        drop(self.changed.wait_timeout_while(self.lock(), pause, waiting));
    }
}
