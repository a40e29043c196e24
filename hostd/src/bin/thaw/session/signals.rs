//! Signals to this process, and what they mean for the program.
//!
//! Without a terminal of its own the program gets the first SIGINT, and the second ends
//! the session. With one, Ctrl-C is a byte on its standard input like any other. SIGTERM,
//! SIGHUP and SIGQUIT always end the session.

use protocol::hostd::v1::SignalRequest;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::client::Hostd;
use crate::error::Error;

/// The signals that end a `thaw`, caught from now on.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    quit: Signal,
}

impl Signals {
    pub fn new() -> Result<Self, Error> {
        let catch = |kind| {
            signal(kind).map_err(|source| Error::Local {
                what: "cannot catch signals".to_owned(),
                source,
            })
        };
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
            hang_up: catch(SignalKind::hangup())?,
            quit: catch(SignalKind::quit())?,
        })
    }

    /// Waits for one of them and gives its number.
    pub async fn next(&mut self) -> i32 {
        let kind = tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.hang_up.recv() => SignalKind::hangup(),
            _ = self.quit.recv() => SignalKind::quit(),
        };
        kind.as_raw_value()
    }

    /// Forwards what is the program's; gives the number of a signal that ends the session.
    pub async fn forward(
        &mut self,
        hostd: &Hostd,
        sandbox: &str,
        pid: watch::Receiver<Option<u32>>,
        tty: bool,
    ) -> i32 {
        let first = self.next().await;
        let running = *pid.borrow();
        let (false, true, Some(pid)) = (tty, is_interrupt(first), running) else {
            return first;
        };
        let request = SignalRequest {
            sandbox_id: sandbox.to_owned(),
            pid,
            signal: first,
        };
        let mut processes = hostd.processes();
        tokio::select! {
            // When it cannot be sent the program has ended, or the stream will say what is wrong.
            _ = processes.signal(request) => self.next().await,
            second = self.next() => second,
        }
    }
}

fn is_interrupt(signal: i32) -> bool {
    signal == SignalKind::interrupt().as_raw_value()
}
