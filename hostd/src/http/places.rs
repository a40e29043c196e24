//! [`Places`]: how many connections there are at a time, and which one goes when another comes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// All of them. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Places {
    most: usize,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    connections: HashMap<u64, Connection>,
    /// Counts what happens, so that of two connections the one is known that has been idle for longer.
    clock: u64,
}

#[derive(Debug)]
struct Connection {
    /// Requests that are being answered.
    busy: usize,
    idle_since: u64,
    wanted: CancellationToken,
}

/// One connection's, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    seat: Seat,
    wanted: CancellationToken,
}

/// Which connection's. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    state: Arc<Mutex<State>>,
    number: u64,
}

/// As long as there is one, its connection keeps its place.
#[derive(Debug)]
pub(super) struct Busy(Seat);

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            state: Arc::default(),
        }
    }

    /// A free one, or that of the connection that has been idle for the longest. None when all are busy.
    pub(super) fn take(&self) -> Option<Place> {
        let mut state = lock(&self.state);
        if state.connections.len() >= self.most {
            let idle = state.connections.iter();
            let idle = idle.filter(|(_, connection)| connection.busy == 0);
            let (number, _) = idle.min_by_key(|(_, connection)| connection.idle_since)?;
            let number = *number;
            if let Some(last) = state.connections.remove(&number) {
                last.wanted.cancel();
            }
        }
        let number = state.tick();
        let wanted = CancellationToken::new();
        let connection = Connection {
            busy: 0,
            idle_since: number,
            wanted: wanted.clone(),
        };
        state.connections.insert(number, connection);
        let seat = Seat {
            state: Arc::clone(&self.state),
            number,
        };
        Some(Place { seat, wanted })
    }
}

impl State {
    fn tick(&mut self) -> u64 {
        self.clock = self.clock.wrapping_add(1);
        self.clock
    }
}

impl Place {
    pub(super) fn seat(&self) -> Seat {
        self.seat.clone()
    }

    /// Waits until another connection has got it.
    pub(super) async fn wanted(&self) {
        self.wanted.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.seat.state).connections.remove(&self.seat.number);
    }
}

impl Seat {
    /// Something is being answered.
    pub(super) fn busy(&self) -> Busy {
        if let Some(connection) = lock(&self.state).connections.get_mut(&self.number) {
            connection.busy += 1;
        }
        Busy(self.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        let now = state.tick();
        if let Some(connection) = state.connections.get_mut(&self.0.number) {
            connection.busy = connection.busy.saturating_sub(1);
            connection.idle_since = now;
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(place: &Place) -> bool {
        place.wanted.is_cancelled()
    }

    #[test]
    fn the_longest_idle_goes_and_the_busy_stay() {
        let places = Places::new(3);
        let [first, second, third] = [(); 3].map(|()| places.take().unwrap());
        drop(first.seat().busy());
        let busy = second.seat().busy();
        // The first has been heard of after the third.
        let fourth = places.take().unwrap();
        assert_eq!(
            [lost(&first), lost(&second), lost(&third)],
            [false, false, true]
        );
        let fifth = places.take().unwrap();
        assert!(lost(&first) && !lost(&fourth));
        let all = [fourth.seat().busy(), fifth.seat().busy()];
        assert!(places.take().is_none());
        drop(all);
        assert!(places.take().is_some());
        drop(busy);
    }

    #[test]
    fn a_place_that_is_left_is_free() {
        let places = Places::new(1);
        let busy = {
            let place = places.take().unwrap();
            place.seat().busy()
        };
        let next = places.take().unwrap();
        drop(busy);
        assert!(!lost(&next));
        drop(next);
        assert!(lock(&places.state).connections.is_empty());
    }
}
