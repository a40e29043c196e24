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
    /// When the kernel refuses to watch one of them.
    pub fn add(&mut self, handler: Arc<Mutex<dyn EventHandler>>) -> io::Result<HandlerId> {
        let id = self.next_id;
        for source in lock(&handler).sources() {
            let data = u64::from(id) << 16 | u64::from(source.token);
            let event = EpollEvent::new(EventSet::IN, data);
            self.epoll.ctl(ControlOperation::Add, source.fd, event)?;
        }
        self.next_id = id.wrapping_add(1);
        self.handlers.insert(id, handler);
        Ok(HandlerId(id))
    }

    /// Stops watching a handler and lets go of it.
    ///
    /// # Errors
    /// When the kernel does not know one of its sources.
    pub fn remove(&mut self, id: HandlerId) -> io::Result<()> {
        let Some(handler) = self.handlers.remove(&id.0) else {
            return Ok(());
        };
        for source in lock(&handler).sources() {
            let event = EpollEvent::default();
            self.epoll.ctl(ControlOperation::Delete, source.fd, event)?;
        }
        Ok(())
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
