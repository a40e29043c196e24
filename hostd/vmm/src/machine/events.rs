//! What the guest does that ends its run, carried from vCPU threads to the main loop.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};

use devices::legacy::{PowerRequest, PowerSink};
use vmm_sys_util::eventfd::EventFd;

/// Why the guest no longer runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestEvent {
    /// It switched itself off.
    PoweredOff,
    /// It reset itself, or its kernel panicked.
    Reset,
    /// KVM could not go on with it.
    Failed(String),
}

/// Holds the first event; the later ones are its consequences.
#[derive(Clone, Debug)]
pub struct GuestEvents {
    first: Arc<Mutex<Option<GuestEvent>>>,
    wake: Arc<EventFd>,
}

impl GuestEvents {
    /// # Errors
    ///
    /// When the kernel gives no eventfd.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            first: Arc::default(),
            wake: Arc::new(EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?),
        })
    }

    /// Reports an event, from any thread.
    pub fn report(&self, event: GuestEvent) {
        self.lock().get_or_insert(event);
        // Fails only when the counter is full, and then the main loop wakes up anyway.
        let _ = self.wake.write(1);
    }

    /// Takes the event, if there is one.
    pub fn take(&self) -> Option<GuestEvent> {
        // Fails only when nothing was written since the last time.
        let _ = self.wake.read();
        self.lock().take()
    }

    /// Where the power registers lead.
    pub fn power_sink(&self) -> PowerSink {
        let events = self.clone();
        Arc::new(move |request| {
            events.report(match request {
                PowerRequest::Off => GuestEvent::PoweredOff,
                PowerRequest::Reset => GuestEvent::Reset,
            });
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<GuestEvent>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRawFd for GuestEvents {
    fn as_raw_fd(&self) -> RawFd {
        self.wake.as_raw_fd()
    }
}
