//! What can fail while a network is made, and what to do about it.

use std::fmt;
use std::io;

use netlink_socket2::ReplyError;

/// A step of making a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Starting the thread that enters the namespace.
    Thread,
    /// Making a namespace.
    Namespace,
    /// Entering a namespace that exists.
    Enter,
    /// Writing one of the namespace's settings under /proc/sys/net.
    Setting(&'static str),
    /// Making the tap.
    Tap,
    /// Setting an interface up.
    Link,
    /// Giving the gateway its address.
    Address,
    /// Telling the guest's Ethernet address.
    Neighbour,
    /// Routing the guest's packets to this host's sockets.
    Route,
    /// Loading the nftables rules.
    Rules,
    /// Reading the counters of dropped packets.
    Counters,
    /// Making the proxy's and the resolver's sockets.
    Sockets,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Thread => f.write_str("starting a thread"),
            Self::Namespace => f.write_str("making a network namespace"),
            Self::Enter => f.write_str("entering a network namespace"),
            Self::Setting(name) => write!(f, "setting net.{}", name.replace('/', ".")),
            Self::Tap => f.write_str("making a tap"),
            Self::Link => f.write_str("setting an interface up"),
            Self::Address => f.write_str("giving the gateway its address"),
            Self::Neighbour => f.write_str("telling the guest's Ethernet address"),
            Self::Route => f.write_str("routing to the proxy"),
            Self::Rules => f.write_str("loading nftables rules"),
            Self::Counters => f.write_str("reading nftables counters"),
            Self::Sockets => f.write_str("making the proxy's sockets"),
        }
    }
}

/// A step that failed, why, and what would help.
#[derive(Debug, thiserror::Error)]
#[error("{step} failed{}", Advice(*.step, .source.errno()))]
pub struct Error {
    /// The step.
    pub step: Step,
    /// The kernel's reason.
    #[source]
    pub source: Reason,
}

/// The kernel's reason for a refusal.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// A system call's error.
    #[error(transparent)]
    System(#[from] io::Error),
    /// A netlink reply's error, with the kernel's own words where it has some.
    #[error(transparent)]
    Netlink(#[from] ReplyError),
}

impl Reason {
    /// The error number, if there is one.
    fn errno(&self) -> Option<i32> {
        match self {
            Self::System(error) => error.raw_os_error(),
            Self::Netlink(error) => error.as_io_error().raw_os_error(),
        }
    }
}

impl Error {
    /// What whoever runs the host can do, if that is known.
    pub fn advice(&self) -> Option<&'static str> {
        advice(self.step, self.source.errno())
    }
}

/// Says of a failed call which step it was part of.
pub(crate) trait During<T> {
    fn during(self, step: Step) -> Result<T, Error>;
}

impl<T, E: Into<Reason>> During<T> for Result<T, E> {
    fn during(self, step: Step) -> Result<T, Error> {
        self.map_err(|error| Error {
            step,
            source: error.into(),
        })
    }
}

/// The advice, as the end of a sentence.
struct Advice(Step, Option<i32>);

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match advice(self.0, self.1) {
            Some(advice) => write!(f, " ({advice})"),
            None => Ok(()),
        }
    }
}

fn advice(step: Step, errno: Option<i32>) -> Option<&'static str> {
    match (step, errno?) {
        (Step::Namespace | Step::Enter, libc::EPERM) => Some("hostd needs CAP_SYS_ADMIN"),
        (Step::Namespace, libc::ENOSPC) => Some("user.max_net_namespaces is too low"),
        (Step::Tap, libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
            Some("the module tun is missing: modprobe tun")
        }
        (
            Step::Rules,
            libc::ENOENT | libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT,
        ) => Some("a module of nftables is missing: see net::MODULES"),
        (Step::Setting(_), libc::EROFS | libc::EACCES) => {
            Some("/proc/sys must be writable for hostd")
        }
        (_, libc::EMFILE | libc::ENFILE) => {
            Some("too few open files are allowed: raise LimitNOFILE")
        }
        (_, libc::EPERM | libc::EACCES) => Some("hostd needs CAP_NET_ADMIN"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(step: Step, errno: i32) -> Error {
        Err::<(), _>(io::Error::from_raw_os_error(errno))
            .during(step)
            .expect_err("it was an error before")
    }

    #[test]
    fn the_step_and_what_to_do_are_told() {
        assert_eq!(
            error(Step::Namespace, libc::EPERM).to_string(),
            "making a network namespace failed (hostd needs CAP_SYS_ADMIN)"
        );
        assert_eq!(
            error(Step::Setting("ipv4/ip_forward"), libc::EROFS).to_string(),
            "setting net.ipv4.ip_forward failed (/proc/sys must be writable for hostd)"
        );
    }

    #[test]
    fn no_advice_is_made_up() {
        let error = error(Step::Rules, libc::EIO);
        assert_eq!(error.advice(), None);
        assert_eq!(error.to_string(), "loading nftables rules failed");
    }
}
