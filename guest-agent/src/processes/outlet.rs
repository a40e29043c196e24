//! What a process has written and nobody has taken yet.
//!
//! While a stream is attached, the pumps stop at [`ATTACHED_BYTES`], so the program blocks on its pipe and no
//! byte is lost. While none is attached they go on, and the newest [`DETACHED_BYTES`] are kept.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, futures::Notified};
use tokio_util::sync::CancellationToken;

/// Kept of each stream while nobody is attached, in bytes.
pub(super) const DETACHED_BYTES: usize = 1 << 20;
/// Waiting of each stream while someone is attached, in bytes: enough to fill a message while the last
/// one is on its way.
const ATTACHED_BYTES: usize = 256 << 10;
/// The largest piece taken at once, in bytes.
pub(super) const CHUNK_BYTES: usize = 64 << 10;

/// Which stream of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Stdout,
    Stderr,
}

#[derive(Default)]
struct Stream {
    bytes: VecDeque<u8>,
    dropped: u64,
    /// Nothing more will come.
    ended: bool,
}

#[derive(Default)]
struct Inner {
    stdout: Stream,
    stderr: Stream,
    /// Whose turn it is when both have something.
    stderr_next: bool,
    attached: Option<(u64, CancellationToken)>,
    attachments: u64,
}

impl Inner {
    fn stream(&mut self, source: Source) -> &mut Stream {
        match source {
            Source::Stdout => &mut self.stdout,
            Source::Stderr => &mut self.stderr,
        }
    }

    fn is_attached(&self, serial: u64) -> bool {
        self.attached
            .as_ref()
            .is_some_and(|(attached, _)| *attached == serial)
    }
}

/// One attachment's place.
pub(super) struct Seat {
    pub(super) serial: u64,
    /// Cancelled when another takes the place.
    pub(super) taken_over: CancellationToken,
    pub(super) stdout_dropped: u64,
    pub(super) stderr_dropped: u64,
}

/// What the holder of a seat finds.
pub(super) enum Taken {
    Data(Source, Bytes),
    /// Nothing yet.
    Nothing,
    /// Both streams are at their end and all has been taken.
    End,
    /// Another attachment sits here now.
    Displaced,
}

/// Both output streams of one process.
#[derive(Default)]
pub(super) struct Outlet {
    inner: Mutex<Inner>,
    /// Something to take, an end, or another holder.
    readable: Notify,
    /// Room for the pumps, or no need of it.
    room: Notify,
}

impl Outlet {
    /// Streams that are not piped are at their end from the start.
    pub(super) fn new(stdout: bool, stderr: bool) -> Self {
        let outlet = Self::default();
        {
            let mut inner = outlet.lock();
            inner.stdout.ended = !stdout;
            inner.stderr.ended = !stderr;
        }
        outlet
    }

    /// A panic while the lock was held cannot leave half a change that matters: all of them are single steps.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sits down, in the place of whoever sat there.
    pub(super) fn attach(&self) -> Seat {
        let mut inner = self.lock();
        inner.attachments += 1;
        let (serial, token) = (inner.attachments, CancellationToken::new());
        if let Some((_, before)) = inner.attached.replace((serial, token.clone())) {
            before.cancel();
        }
        let seat = Seat {
            serial,
            taken_over: token,
            stdout_dropped: std::mem::take(&mut inner.stdout.dropped),
            stderr_dropped: std::mem::take(&mut inner.stderr.dropped),
        };
        drop(inner);
        self.readable.notify_waiters();
        seat
    }

    /// Stands up; answers whether this attachment was still the one.
    pub(super) fn detach(&self, serial: u64) -> bool {
        let mut inner = self.lock();
        let was_attached = inner.is_attached(serial);
        if was_attached {
            inner.attached = None;
        }
        drop(inner);
        self.room.notify_waiters();
        was_attached
    }

    pub(super) fn is_attached(&self) -> bool {
        self.lock().attached.is_some()
    }

    /// Becomes ready at the next change that [`Outlet::take`] would see.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.readable.notified()
    }

    /// Takes the next piece, the two streams in turn.
    pub(super) fn take(&self, serial: u64) -> Taken {
        let mut inner = self.lock();
        if !inner.is_attached(serial) {
            return Taken::Displaced;
        }
        let order = match inner.stderr_next {
            true => [Source::Stderr, Source::Stdout],
            false => [Source::Stdout, Source::Stderr],
        };
        for source in order {
            let stream = inner.stream(source);
            if !stream.bytes.is_empty() {
                let data = take_front(&mut stream.bytes);
                inner.stderr_next = source == Source::Stdout;
                drop(inner);
                self.room.notify_waiters();
                return Taken::Data(source, data);
            }
        }
        match inner.stdout.ended && inner.stderr.ended {
            true => Taken::End,
            false => Taken::Nothing,
        }
    }

    /// Waits until something may be pushed; answers how many bytes at most.
    pub(super) async fn room(&self, source: Source) -> usize {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            {
                let mut inner = self.lock();
                let attached = inner.attached.is_some();
                let free = ATTACHED_BYTES.saturating_sub(inner.stream(source).bytes.len());
                match (attached, free) {
                    (false, _) => return CHUNK_BYTES,
                    (true, 1..) => return free.min(CHUNK_BYTES),
                    (true, 0) => {}
                }
            }
            room.await;
        }
    }

    /// Adds what the process wrote.
    pub(super) fn push(&self, source: Source, data: &[u8]) {
        let mut inner = self.lock();
        let attached = inner.attached.is_some();
        let stream = inner.stream(source);
        stream.bytes.extend(data);
        if !attached {
            let excess = stream.bytes.len().saturating_sub(DETACHED_BYTES);
            stream.bytes.drain(..excess);
            stream.dropped += excess as u64;
        }
        drop(inner);
        self.readable.notify_waiters();
    }

    /// Nothing more will come from this stream.
    pub(super) fn end(&self, source: Source) {
        self.lock().stream(source).ended = true;
        self.readable.notify_waiters();
    }

    /// Wakes the holder: the process has ended.
    pub(super) fn wake(&self) {
        self.readable.notify_waiters();
    }

    /// Bytes held now.
    pub(super) fn held(&self) -> usize {
        let inner = self.lock();
        inner.stdout.bytes.len() + inner.stderr.bytes.len()
    }

    /// Lets go of what is held for nobody.
    pub(super) fn forget(&self) {
        let mut inner = self.lock();
        if inner.attached.is_some() {
            return;
        }
        for source in [Source::Stdout, Source::Stderr] {
            let stream = inner.stream(source);
            stream.dropped += stream.bytes.len() as u64;
            stream.bytes = VecDeque::new();
        }
    }
}

/// Copies the front out, so that the ring's memory is reused and a piece holds no more than it shows.
fn take_front(ring: &mut VecDeque<u8>) -> Bytes {
    let (front, _) = ring.as_slices();
    let data = match front.get(..CHUNK_BYTES) {
        Some(piece) => Bytes::copy_from_slice(piece),
        None => Bytes::copy_from_slice(front),
    };
    ring.drain(..data.len());
    if ring.is_empty() && ring.capacity() > 2 * ATTACHED_BYTES {
        *ring = VecDeque::new();
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(outlet: &Outlet, serial: u64) -> Vec<u8> {
        let mut all = Vec::new();
        while let Taken::Data(_, data) = outlet.take(serial) {
            assert!(data.len() <= CHUNK_BYTES);
            all.extend_from_slice(&data);
        }
        all
    }

    #[test]
    fn detached_keeps_the_newest_and_counts_the_rest() {
        let outlet = Outlet::new(true, true);
        outlet.push(Source::Stdout, &vec![1; DETACHED_BYTES]);
        outlet.push(Source::Stdout, &[2; 10]);
        let seat = outlet.attach();
        assert_eq!((seat.stdout_dropped, seat.stderr_dropped), (10, 0));
        let all = drain(&outlet, seat.serial);
        assert_eq!(all.len(), DETACHED_BYTES);
        assert!(all.ends_with(&[2; 10]));
        assert_eq!(outlet.attach().stdout_dropped, 0);
    }

    #[tokio::test]
    async fn attached_stops_the_pump_and_detaching_lets_it_go() {
        let outlet = std::sync::Arc::new(Outlet::new(true, false));
        let seat = outlet.attach();
        for _ in 0..ATTACHED_BYTES / CHUNK_BYTES {
            assert_eq!(outlet.room(Source::Stdout).await, CHUNK_BYTES);
            outlet.push(Source::Stdout, &[0; CHUNK_BYTES]);
        }
        let waiting = tokio::spawn({
            let outlet = outlet.clone();
            async move { outlet.room(Source::Stdout).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        assert!(outlet.detach(seat.serial));
        assert_eq!(waiting.await.unwrap(), CHUNK_BYTES);
    }

    #[test]
    fn a_second_attachment_takes_over() {
        let outlet = Outlet::new(true, true);
        let first = outlet.attach();
        let second = outlet.attach();
        assert!(first.taken_over.is_cancelled() && !second.taken_over.is_cancelled());
        assert!(matches!(outlet.take(first.serial), Taken::Displaced));
        assert!(!outlet.detach(first.serial));
        assert!(outlet.is_attached());
        outlet.end(Source::Stdout);
        assert!(matches!(outlet.take(second.serial), Taken::Nothing));
        outlet.end(Source::Stderr);
        assert!(matches!(outlet.take(second.serial), Taken::End));
    }
}
