//! What wakes the card beside its queues: frames in the tap, the end of a wait, a change of its control. All of it is one
//! descriptor to the event loop, so that the tap is watched only when its frames can go somewhere.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

/// The descriptors that may be watched.
pub struct Watch {
    epoll: Epoll,
    tap: Watched,
    changed: Watched,
    timer: TimerFd,
    /// When the timer goes off.
    due: Option<Instant>,
}

/// A descriptor that wakes the card, or does not.
struct Watched {
    fd: RawFd,
    wakes: bool,
}

impl Watched {
    fn set(&mut self, epoll: &Epoll, wakes: bool) {
        if wakes == self.wakes {
            return;
        }
        // Not only its events: a tap that is gone would wake the card for ever.
        let change = match wakes {
            true => ControlOperation::Add,
            false => ControlOperation::Delete,
        };
        match epoll.ctl(change, self.fd, EpollEvent::new(EventSet::IN, 0)) {
            Ok(()) => self.wakes = wakes,
            Err(error) => tracing::warn!(%error, "a network card's descriptor cannot be watched"),
        }
    }
}

impl Watch {
    /// Watches nothing until it is asked to. Both descriptors live as long as this.
    ///
    /// # Errors
    /// When the kernel gives no descriptors.
    pub fn new(tap: RawFd, changed: RawFd) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        let event = EpollEvent::new(EventSet::IN, 0);
        epoll.ctl(ControlOperation::Add, timer.as_fd().as_raw_fd(), event)?;
        let watched = |fd| Watched { fd, wakes: false };
        Ok(Self {
            epoll,
            tap: watched(tap),
            changed: watched(changed),
            timer,
            due: None,
        })
    }

    /// Whether frames in the tap wake the card.
    pub fn watch_tap(&mut self, wakes: bool) {
        self.tap.set(&self.epoll, wakes);
    }

    /// A change of the control wakes the card from now on.
    pub fn watch_control(&mut self) {
        self.changed.set(&self.epoll, true);
    }

    /// Wakes the card after this time at the latest.
    pub fn wake_after(&mut self, wait: Duration) {
        let at = Instant::now() + wait;
        if self.due.is_some_and(|due| due <= at) {
            return;
        }
        // A time of zero would be none.
        let wait = Expiration::OneShot(wait.max(Duration::from_nanos(1)).into());
        match self.timer.set(wait, TimerSetTimeFlags::empty()) {
            Ok(()) => self.due = Some(at),
            Err(error) => tracing::warn!(%error, "a timer that cannot be set"),
        }
    }

    /// Takes back that the timer has gone off, if it has.
    pub fn end_wait(&mut self) {
        if self.due.is_some() && self.timer.wait().is_ok() {
            self.due = None;
        }
    }

    /// Nothing wakes the card but its queues.
    pub fn rest(&mut self) {
        self.tap.set(&self.epoll, false);
        self.changed.set(&self.epoll, false);
        if self.due.take().is_some() {
            // This also takes back that it has gone off; it fails for no timer.
            let _ = self.timer.unset();
        }
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }
}
