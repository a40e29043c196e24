//! Connections whose work is done by the task that waits for what they bring.
//!
//! An HTTP/1.1 connection of the guest and the one to its upstream take turns: in a task of its own, the latter would be
//! woken for each head and each piece of a body, only to wake the former.
//!
//! **Invariant:** one task alone drives a connection, that of [`Drivers::along`], and with its own waker: whoever polled last
//! is woken, and what a waiter has driven is not polled again in that turn. This holds because what waits for HTTP/1.1
//! upstreams is all of one HTTP/1.1 connection of the guest. A connection's own work neither drives nor adds another one:
//! locks are held while it is polled.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;

/// A connection's work. A clone is another handle of the same.
#[derive(Clone)]
pub(super) struct Driven(Arc<Mutex<Work>>);

struct Work {
    /// Nothing, once it has ended.
    working: Option<BoxFuture<'static, ()>>,
    /// Whether it was polled since [`Drivers::along`] looked last: what happened after that has woken the task.
    polled: bool,
}

impl Driven {
    fn new(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Work {
            working: Some(Box::pin(work)),
            polled: false,
        })))
    }

    /// Asks `poll`, and once more after the connection's work if it waits for that.
    pub(super) fn poll_with<T>(
        &self,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let polled = poll(cx);
        if polled.is_ready() {
            return polled;
        }
        {
            let mut work = lock(&self.0);
            work.drive(cx);
            work.polled = true;
        }
        poll(cx)
    }

    /// Waits for `poll`, and does the connection's work meanwhile.
    pub(super) async fn while_polling<T>(
        &self,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> T {
        poll_fn(|cx| self.poll_with(cx, &mut poll)).await
    }
}

impl Work {
    /// Does what there is to do.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(working) = &mut self.working
            && working.poll_unpin(cx).is_ready()
        {
            self.working = None;
        }
    }

    /// The same, unless it was done already. Whether there will be more.
    fn drive_once(&mut self, cx: &mut Context<'_>) -> bool {
        if !std::mem::take(&mut self.polled) {
            self.drive(cx);
        }
        self.working.is_some()
    }
}

/// All of one connection of the guest.
#[derive(Default)]
pub(super) struct Drivers(Mutex<Vec<Driven>>);

impl Drivers {
    /// Takes the work of one more.
    pub(super) fn add(&self, work: impl Future<Output = ()> + Send + 'static) -> Driven {
        let driven = Driven::new(work);
        lock(&self.0).push(driven.clone());
        driven
    }

    /// Does `doing`, and the work of all meanwhile: also of those that nobody waits for now, whose upstream may hang up or
    /// still take the rest of a request.
    pub(super) async fn along<F: Future>(&self, doing: F) -> F::Output {
        let mut doing = pin!(doing);
        poll_fn(|cx| {
            let polled = doing.as_mut().poll(cx);
            if polled.is_pending() {
                lock(&self.0).retain(|driven| lock(&driven.0).drive_once(cx));
            }
            polled
        })
        .await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
