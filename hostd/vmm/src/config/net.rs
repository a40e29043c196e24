//! A network card's part of the description, and what changes it later.

use devices::virtio::net::{Limit, NetLimits, Rate, Tap};
use protocol::vmm::v1 as wire;

use super::{ConfigError, within};
use crate::control::fds::Fds;

/// A network card: its other end, and what may pass.
#[derive(Debug)]
pub struct NetConfig {
    /// Checked, and not blocking.
    pub tap: Tap,
    /// Whether it begins as a cable that is not plugged in.
    pub muted: bool,
    /// What may pass in each direction.
    pub limits: NetLimits,
}

/// A checked change of a card. What is absent stays.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct NetChange {
    /// Whether anything passes.
    pub muted: Option<bool>,
    /// How much.
    pub limits: Option<NetLimits>,
}

impl NetConfig {
    pub(super) fn parse(net: wire::Net, fds: &mut Fds) -> Result<Self, ConfigError> {
        let limits = limits(net.limits.unwrap_or_default())?;
        let tap = fds.take("tap", net.tap_fd)?;
        Ok(Self {
            tap: Tap::new(tap)?,
            muted: net.muted,
            limits,
        })
    }
}

impl NetChange {
    /// Checks a message.
    ///
    /// # Errors
    ///
    /// [`ConfigError::OutOfRange`].
    pub fn parse(change: wire::SetNet) -> Result<Self, ConfigError> {
        Ok(Self {
            muted: change.muted,
            limits: change.limits.map(limits).transpose()?,
        })
    }
}

fn limits(limits: wire::NetLimits) -> Result<NetLimits, ConfigError> {
    Ok(NetLimits {
        from_guest: limit(limits.from_guest.unwrap_or_default())?,
        to_guest: limit(limits.to_guest.unwrap_or_default())?,
    })
}

fn limit(limit: wire::NetLimit) -> Result<Limit, ConfigError> {
    Ok(Limit {
        bytes: limit.bytes.map(rate).transpose()?,
        frames: limit.frames.map(rate).transpose()?,
    })
}

fn rate(rate: wire::Rate) -> Result<Rate, ConfigError> {
    // Nothing at all is what muting is for; the device would let something pass.
    let per_second = within(
        "a network limit per second",
        rate.per_second,
        rate.per_second > 0,
        "1 or more",
    )?;
    Ok(Rate {
        per_second,
        burst: rate.burst,
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn one_limit(per_second: u64) -> wire::NetLimits {
        let rate = wire::Rate {
            per_second,
            burst: 7,
        };
        let limit = wire::NetLimit {
            bytes: None,
            frames: Some(rate),
        };
        wire::NetLimits {
            from_guest: Some(limit),
            to_guest: None,
        }
    }

    #[test]
    fn what_a_change_does_not_name_stays() {
        let nothing = NetChange::parse(wire::SetNet::default()).unwrap();
        assert_eq!(nothing, NetChange::default());
        let change = NetChange::parse(wire::SetNet {
            muted: Some(false),
            limits: Some(one_limit(5)),
        })
        .unwrap();
        let limits = change.limits.unwrap();
        assert_eq!(change.muted, Some(false));
        assert_eq!(limits.to_guest, Limit::default());
        assert_eq!(limits.from_guest.bytes, None);
        let rate = limits.from_guest.frames.unwrap();
        assert_eq!((rate.per_second, rate.burst), (5, 7));
    }

    #[test]
    fn a_limit_of_nothing_is_refused() {
        let change = NetChange::parse(wire::SetNet {
            muted: None,
            limits: Some(one_limit(0)),
        });
        assert!(matches!(change, Err(ConfigError::OutOfRange { .. })));
    }

    #[test]
    fn a_card_needs_a_tap() {
        let missing = NetConfig::parse(wire::Net::default(), &mut Fds::default());
        assert!(matches!(missing, Err(ConfigError::Fd(_))));
        let null = File::open("/dev/null").unwrap();
        let mut fds = Fds::new(vec![null.into()]);
        let other = NetConfig::parse(wire::Net::default(), &mut fds);
        assert!(matches!(other, Err(ConfigError::Tap(_))));
    }
}
