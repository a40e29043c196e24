//! What the machine's side does with a card while its device is at work: muting, limits, counters.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::limit::NetLimits;

/// Shared between a card and its owner.
#[derive(Debug)]
pub struct NetControl {
    muted: AtomicBool,
    limits: Mutex<NetLimits>,
    changed: EventFd,
    counts: Counts,
}

/// What a card has carried and what it has thrown away, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetCounters {
    /// Frames to the guest.
    pub to_guest_frames: u64,
    /// Their bytes, without headers.
    pub to_guest_bytes: u64,
    /// Frames of the guest.
    pub from_guest_frames: u64,
    /// Their bytes, without headers.
    pub from_guest_bytes: u64,
    /// Frames in either direction that were malformed, or had no room, or came while the card was muted.
    pub dropped_frames: u64,
}

/// One direction's counts.
#[derive(Debug, Default)]
struct Count {
    frames: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Counts {
    to_guest: Count,
    from_guest: Count,
    dropped: AtomicU64,
}

impl Count {
    fn add(&self, bytes: usize) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl NetControl {
    /// For a card that is muted or not, with these limits.
    ///
    /// # Errors
    /// When the kernel gives no descriptor.
    pub fn new(muted: bool, limits: NetLimits) -> io::Result<Self> {
        Ok(Self {
            muted: AtomicBool::new(muted),
            limits: Mutex::new(limits),
            changed: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
            counts: Counts::default(),
        })
    }

    /// Mutes the card or lets it be heard. Acts on the next frame.
    ///
    /// # Errors
    /// When the device cannot be told.
    pub fn set_muted(&self, muted: bool) -> io::Result<()> {
        self.muted.store(muted, Ordering::Release);
        self.changed.write(1)
    }

    /// Changes the limits. Acts on the next frame, with full buckets.
    ///
    /// # Errors
    /// When the device cannot be told.
    pub fn set_limits(&self, limits: NetLimits) -> io::Result<()> {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
        self.changed.write(1)
    }

    /// What was carried until now.
    pub fn counters(&self) -> NetCounters {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counts {
            to_guest,
            from_guest,
            dropped,
        } = &self.counts;
        NetCounters {
            to_guest_frames: load(&to_guest.frames),
            to_guest_bytes: load(&to_guest.bytes),
            from_guest_frames: load(&from_guest.frames),
            from_guest_bytes: load(&from_guest.bytes),
            dropped_frames: load(dropped),
        }
    }

    pub(super) fn is_muted(&self) -> bool {
        self.muted.load(Ordering::Acquire)
    }

    pub(super) fn limits(&self) -> NetLimits {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Becomes readable after a change.
    pub(super) fn changed(&self) -> RawFd {
        self.changed.as_raw_fd()
    }

    /// Whether something has changed since the last call.
    pub(super) fn take_change(&self) -> bool {
        self.changed.read().is_ok()
    }

    pub(super) fn count_to_guest(&self, bytes: usize) {
        self.counts.to_guest.add(bytes);
    }

    pub(super) fn count_from_guest(&self, bytes: usize) {
        self.counts.from_guest.add(bytes);
    }

    pub(super) fn drop_frame(&self) {
        self.counts.dropped.fetch_add(1, Ordering::Relaxed);
    }
}
