//! The one thread that does queue work: an epoll set over every device's descriptors.
//!
//! The vmm owns the thread. It waits on [`EventLoop::as_raw_fd`] beside its own control socket,
//! and calls [`EventLoop::dispatch`] when that is readable. A paused machine simply does not
//! call it: events stay pending in the kernel until it does again.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

/// Events taken from the kernel by one `dispatch`; the rest wait for the next one.
const BATCH: usize = 32;

/// A descriptor to be watched for readability, level-triggered, and the token it is known by.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    /// The descriptor. It lives as long as its handler.
    pub fd: RawFd,
    /// Handed back to [`EventHandler::on_event`].
    pub token: u16,
}

/// Something with descriptors to watch: a device.
pub trait EventHandler: Send {
    /// The descriptors to watch. Asked once, when the handler is added.
    fn sources(&self) -> Vec<Source>;

    /// The source `token` is readable. Only called on the event-loop thread; must not block for
    /// long, and bounds its work so that other handlers get their turn.
    fn on_event(&mut self, token: u16);

    /// The machine is about to run, either for the first time after a restore or after a pause:
    /// called before the vCPUs are, once their interrupt controllers are set.
    fn resume(&mut self);
}

/// Names a handler within its [`EventLoop`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HandlerId(u32);

/// The devices' epoll set.
pub struct EventLoop {
    epoll: Epoll,
    handlers: HashMap<u32, Arc<Mutex<dyn EventHandler>>>,
    next_id: u32,
}

impl EventLoop {
    /// An empty set.
    ///
    /// # Errors
    /// When the kernel gives no descriptor.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: Epoll::new()?,
            handlers: HashMap::new(),
            next_id: 0,
        })
    }

    /// Watches a handler's sources from now on; works while the machine is running, too.
    ///
    /// # Errors
    /// When the kernel refuses to watch one of them; the handler is then not added.
    pub fn add(&mut self, handler: Arc<Mutex<dyn EventHandler>>) -> io::Result<HandlerId> {
        let sources = lock(&handler).sources();
        let id = HandlerId(self.next_id);
        self.next_id = id.0.wrapping_add(1);
        self.handlers.insert(id.0, handler);
        for source in sources {
            let data = u64::from(id.0) << 16 | u64::from(source.token);
            let event = EpollEvent::new(EventSet::IN, data);
            if let Err(error) = self.epoll.ctl(ControlOperation::Add, source.fd, event) {
                self.remove(id);
                return Err(error);
            }
        }
        Ok(id)
    }

    /// Stops watching a handler and lets go of it; nothing happens if it is unknown.
    pub fn remove(&mut self, id: HandlerId) {
        let Some(handler) = self.handlers.remove(&id.0) else {
            return;
        };
        for source in lock(&handler).sources() {
            // It fails for a source that was never added, which is as good.
            let _ = self
                .epoll
                .ctl(ControlOperation::Delete, source.fd, EpollEvent::default());
        }
    }

    /// Handles what is pending, waiting at most `timeout_ms` milliseconds for it (0: not at all,
    /// -1: for ever). Returns the number of events handled.
    ///
    /// # Errors
    /// When the kernel's wait fails for another reason than a signal.
    pub fn dispatch(&self, timeout_ms: i32) -> io::Result<usize> {
        let mut events = [EpollEvent::default(); BATCH];
        let count = match self.epoll.wait(timeout_ms, &mut events) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            other => other?,
        };
        for event in events.iter().take(count) {
            let id = (event.data() >> 16) as u32;
            if let Some(handler) = self.handlers.get(&id) {
                lock(handler).on_event(event.data() as u16);
            }
        }
        Ok(count)
    }

    /// Tells every handler that the machine is about to run; see [`EventHandler::resume`].
    pub fn resume(&self) {
        for handler in self.handlers.values() {
            lock(handler).resume();
        }
    }
}

impl AsRawFd for EventLoop {
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }
}

/// Locks, and ignores that another thread may have panicked with the lock held: a device is
/// always consistent enough to be reset, and a second panic would help nobody.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

    use super::*;

    struct Counter {
        fds: Vec<EventFd>,
        seen: Vec<u16>,
        resumed: usize,
    }

    fn counter() -> Arc<Mutex<Counter>> {
        let fds = (0..2)
            .map(|_| EventFd::new(EFD_NONBLOCK).unwrap())
            .collect();
        Arc::new(Mutex::new(Counter {
            fds,
            seen: Vec::new(),
            resumed: 0,
        }))
    }

    impl EventHandler for Counter {
        fn sources(&self) -> Vec<Source> {
            let fds = self.fds.iter().zip(5..);
            fds.map(|(fd, token)| Source {
                fd: fd.as_raw_fd(),
                token,
            })
            .collect()
        }

        fn on_event(&mut self, token: u16) {
            self.fds[usize::from(token - 5)].read().unwrap();
            self.seen.push(token);
        }

        fn resume(&mut self) {
            self.resumed += 1;
        }
    }

    #[test]
    fn events_reach_their_handler_until_it_is_removed() {
        let mut events = EventLoop::new().unwrap();
        let (one, two) = (counter(), counter());
        let first = events.add(one.clone()).unwrap();
        let second = events.add(two.clone()).unwrap();
        assert_eq!(events.dispatch(0).unwrap(), 0);
        lock(&one).fds[1].write(1).unwrap();
        lock(&two).fds[0].write(1).unwrap();
        assert_eq!(events.dispatch(0).unwrap(), 2);
        assert_eq!(
            (&lock(&one).seen[..], &lock(&two).seen[..]),
            (&[6][..], &[5][..])
        );

        events.remove(first);
        events.remove(first);
        lock(&one).fds[0].write(1).unwrap();
        lock(&two).fds[1].write(1).unwrap();
        assert_eq!(events.dispatch(0).unwrap(), 1);
        events.resume();
        assert_eq!((lock(&one).resumed, lock(&two).resumed), (0, 1));
        assert_ne!(first, second);
    }

    #[test]
    fn a_handler_is_added_whole_or_not_at_all() {
        let mut events = EventLoop::new().unwrap();
        let handler = counter();
        events.add(handler.clone()).unwrap();
        assert!(
            events.add(handler.clone()).is_err(),
            "its descriptors are watched already"
        );
    }
}
