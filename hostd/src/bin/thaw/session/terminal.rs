//! This process's terminal: raw mode and size.

use std::io::stdin;

use protocol::hostd::v1::ExecRequest;
use protocol::types::v1::PtySize;
use protocol::types::v1::process_input::Input;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::Sender;
use tokio_util::task::AbortOnDropHandle;

use super::input::message;
use crate::error::Error;

/// The size of a program's terminal when there is none here to copy.
const DEFAULT_SIZE: PtySize = PtySize { rows: 24, cols: 80 };

/// The size of the terminal on standard input, or a usual one.
pub fn size() -> PtySize {
    match tcgetwinsize(stdin()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => PtySize {
            rows: size.ws_row.into(),
            cols: size.ws_col.into(),
        },
        _ => DEFAULT_SIZE,
    }
}

/// Tells the program's terminal each new size of ours.
pub fn forward_size(sender: Sender<ExecRequest>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let Ok(mut changes) = signal(SignalKind::window_change()) else {
            return;
        };
        // It may have changed between the start of the program and now.
        loop {
            if sender.send(message(Input::Resize(size()))).await.is_err() {
                return;
            }
            changes.recv().await;
        }
    }))
}

/// Raw mode on standard input's terminal, until dropped. No terminal, no raw mode.
pub struct Raw {
    before: Option<Termios>,
}

impl Raw {
    pub fn enter() -> Result<Self, Error> {
        let Ok(before) = tcgetattr(stdin()) else {
            return Ok(Self { before: None });
        };
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw).map_err(|errno| Error::Local {
            what: "cannot set the terminal to raw mode".to_owned(),
            source: errno.into(),
        })?;
        Ok(Self {
            before: Some(before),
        })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // A terminal that is gone needs no restoring.
            let _ = tcsetattr(stdin(), OptionalActions::Now, before);
        }
    }
}
