//! The network card, if the machine has one: made from its description, and what can be asked of it later.

use std::io;
use std::sync::Arc;

use devices::virtio::net::{Mac, Net, NetControl, NetCounters};

use crate::config::net::{NetChange, NetConfig};

/// The card's address. It is the same in every machine, each of which has a network of its own: a guest that
/// is restored or forked keeps its configuration, and its peers theirs.
const MAC: Mac = [0x02, 0x74, 0x68, 0x61, 0x77, 0x01];

/// What the machine keeps of its card.
#[derive(Debug)]
pub struct Card(Arc<NetControl>);

impl Card {
    /// Makes a card, and the device that belongs on the bus.
    ///
    /// # Errors
    ///
    /// When the kernel gives no descriptors.
    pub fn new(config: NetConfig) -> io::Result<(Self, Net)> {
        let control = Arc::new(NetControl::new(config.muted, config.limits)?);
        let device = Net::new(MAC, config.tap, Arc::clone(&control))?;
        Ok((Self(control), device))
    }

    /// Changes what may pass.
    ///
    /// # Errors
    ///
    /// When the device cannot be told.
    pub fn change(&self, change: &NetChange) -> io::Result<()> {
        // Limits first: what is let through now is limited already.
        if let Some(limits) = change.limits {
            self.0.set_limits(limits)?;
        }
        if let Some(muted) = change.muted {
            self.0.set_muted(muted)?;
        }
        Ok(())
    }

    /// What has passed until now.
    pub fn counters(&self) -> NetCounters {
        self.0.counters()
    }
}
