//! A host for the time of one command: what the command started, it stops.

use anyhow::Result;

use crate::{exec::signals, host::Host, products::Products};

/// A host that is stopped in the end if it did not run before.
#[derive(Debug)]
pub struct Lease {
    /// The host.
    pub host: Host,
    ran_before: bool,
}

impl Lease {
    /// A host that can run VMs.
    ///
    /// # Errors
    /// When none can be had.
    pub fn take(products: &Products) -> Result<Self> {
        // A signal must not end this program before it has stopped what it starts.
        signals::watch()?;
        let ran_before = Host::is_running()?;
        Ok(Self {
            host: Host::ready(products)?,
            ran_before,
        })
    }

    /// Gives the host back.
    ///
    /// # Errors
    /// When it does not stop.
    pub fn end(mut self) -> Result<()> {
        self.give_back()
    }

    /// Ends a host that no longer answers, whoever started it.
    ///
    /// # Errors
    /// When it does not end.
    pub fn end_lost(mut self) -> Result<()> {
        self.ran_before = true;
        match &self.host {
            Host::Virtual(host) => host.stop(),
            Host::Here(_) => Ok(()),
        }
    }

    fn give_back(&mut self) -> Result<()> {
        match &self.host {
            // Somebody may have begun to rely on it in the meantime.
            Host::Virtual(host) if !std::mem::replace(&mut self.ran_before, true) => {
                if host.is_kept() { Ok(()) } else { host.stop() }
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Lease {
    /// On the way of an error, which is what gets told.
    fn drop(&mut self) {
        let _ = self.give_back();
    }
}
