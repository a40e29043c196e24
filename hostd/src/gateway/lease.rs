//! [`Lease`]: how long a client's sandbox lives.

use tokio::sync::OwnedSemaphorePermit;

use crate::sandbox::Sandbox;

/// A sandbox that somebody speaks for. One that is of a session ends when this is dropped, also when the connection never came
/// to be.
pub(super) struct Lease {
    sandbox: Sandbox,
    session: bool,
    _place: OwnedSemaphorePermit,
}

impl Lease {
    pub(super) fn new(sandbox: Sandbox, session: bool, place: OwnedSemaphorePermit) -> Self {
        Self {
            sandbox,
            session,
            _place: place,
        }
    }

    pub(super) fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.session {
            self.sandbox.request_kill();
        }
    }
}
