//! What a process has written and nobody has taken yet.
//!
//! While a stream is attached, the pumps stop at [`ATTACHED_BYTES`], so the program blocks on its pipe and no
//! byte is lost. While none is attached they go on, and the newest bytes are kept, as many as the
//! [`budget`](super::budget) allows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, futures::Notified};
use tokio_util::sync::CancellationToken;

use super::budget::Budget;
use super::buffer::{ATTACHED_BYTES, Buffer, CHUNK_BYTES};

/// Which stream of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Stdout,
    Stderr,
}

struct Stream {
    buffer: Buffer,
    /// Bytes given up since the last attachment.
    dropped: u64,
    /// Nothing more will come.
    ended: bool,
}

impl Stream {
    /// One that is not piped is at its end from the start.
    fn new(piped: bool, budget: Arc<Budget>) -> Self {
        Self {
            buffer: Buffer::new(budget),
            dropped: 0,
            ended: !piped,
        }
    }

    /// Adds for nobody.
    fn keep(&mut self, data: &[u8]) {
        self.dropped += self.buffer.keep(data);
        if self.ended {
            self.buffer.seal();
        }
    }
}

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

    fn streams(&mut self) -> [&mut Stream; 2] {
        [&mut self.stdout, &mut self.stderr]
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
pub(super) struct Outlet {
    inner: Mutex<Inner>,
    /// Something to take, an end, or another holder.
    readable: Notify,
    /// Room for the pumps, or no need of it.
    room: Notify,
}

impl Outlet {
    /// For streams that are piped or not; what is kept of them counts towards the budget.
    pub(super) fn new(stdout: bool, stderr: bool, budget: &Arc<Budget>) -> Self {
        let inner = Inner {
            stdout: Stream::new(stdout, budget.clone()),
            stderr: Stream::new(stderr, budget.clone()),
            stderr_next: false,
            attached: None,
            attachments: 0,
        };
        Self {
            inner: Mutex::new(inner),
            readable: Notify::new(),
            room: Notify::new(),
        }
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
        for stream in inner.streams() {
            stream.buffer.settle();
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
            for stream in inner.streams() {
                stream.keep(&[]);
            }
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
            if let Some(data) = inner.stream(source).buffer.take() {
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
                let free = ATTACHED_BYTES.saturating_sub(inner.stream(source).buffer.len());
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
        match attached {
            true => stream.buffer.push(data),
            false => stream.keep(data),
        }
        drop(inner);
        self.readable.notify_waiters();
    }

    /// Nothing more will come from this stream.
    pub(super) fn end(&self, source: Source) {
        let mut inner = self.lock();
        let stream = inner.stream(source);
        stream.ended = true;
        stream.buffer.seal();
        drop(inner);
        self.readable.notify_waiters();
    }

    /// Wakes the holder: the process has ended.
    pub(super) fn wake(&self) {
        self.readable.notify_waiters();
    }

    /// Bytes of the budget that are held for nobody: none while someone is attached.
    pub(super) fn kept(&self) -> usize {
        let mut inner = self.lock();
        match inner.attached {
            Some(_) => 0,
            None => inner
                .streams()
                .iter()
                .map(|stream| stream.buffer.share())
                .sum(),
        }
    }

    /// Gives up what is held for nobody; whoever attaches is told how much it was.
    pub(super) fn forget(&self) {
        let mut inner = self.lock();
        if inner.attached.is_some() {
            return;
        }
        for stream in inner.streams() {
            stream.dropped += stream.buffer.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::budget::{MAX_SHARE_BYTES, MIN_SHARE_BYTES};
    use super::*;

    fn outlet(stdout: bool, stderr: bool) -> Outlet {
        Outlet::new(stdout, stderr, &Arc::new(Budget::new(0)))
    }

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
        let outlet = outlet(true, true);
        outlet.push(Source::Stdout, &vec![1; MAX_SHARE_BYTES]);
        outlet.push(Source::Stdout, &[2; 10]);
        let seat = outlet.attach();
        assert_eq!((seat.stdout_dropped, seat.stderr_dropped), (10, 0));
        let all = drain(&outlet, seat.serial);
        assert_eq!(all.len(), MAX_SHARE_BYTES);
        assert!(all.ends_with(&[2; 10]));
        assert_eq!(outlet.attach().stdout_dropped, 0);
    }

    #[tokio::test]
    async fn attached_stops_the_pump_and_detaching_lets_it_go() {
        let outlet = Arc::new(outlet(true, false));
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
        let outlet = outlet(true, true);
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

    #[test]
    fn many_that_nobody_listens_to_stay_within_the_budget() {
        let budget = Arc::new(Budget::new(0));
        let outlets: Vec<Outlet> = (0..50).map(|_| Outlet::new(true, true, &budget)).collect();
        let written = 2 * MAX_SHARE_BYTES;
        for _ in 0..written / CHUNK_BYTES {
            for outlet in &outlets {
                outlet.push(Source::Stdout, &[0; CHUNK_BYTES]);
                outlet.push(Source::Stderr, &[0; CHUNK_BYTES]);
            }
        }
        let kept: usize = outlets.iter().map(Outlet::kept).sum();
        assert!(kept <= (4 << 20) + 100 * MIN_SHARE_BYTES, "{kept}");
        for outlet in &outlets {
            let seat = outlet.attach();
            assert_eq!(outlet.kept(), 0, "it is a client's now");
            let lost = seat.stdout_dropped + seat.stderr_dropped;
            let rest = drain(outlet, seat.serial).len();
            assert!(rest >= 2 * MIN_SHARE_BYTES);
            assert_eq!(lost + rest as u64, 2 * written as u64);
        }
    }

    #[test]
    fn what_is_given_up_is_told_once() {
        let outlet = outlet(true, true);
        outlet.push(Source::Stdout, b"forgotten");
        outlet.forget();
        outlet.push(Source::Stdout, b"kept");
        outlet.end(Source::Stdout);
        assert_eq!(outlet.kept(), 4);
        let seat = outlet.attach();
        assert_eq!((seat.stdout_dropped, seat.stderr_dropped), (9, 0));
        outlet.forget();
        assert_eq!(drain(&outlet, seat.serial), b"kept");
        outlet.detach(seat.serial);
        assert_eq!(outlet.kept(), 0);
        assert_eq!(outlet.attach().stdout_dropped, 0);
    }
}
