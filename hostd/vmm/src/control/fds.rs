//! The descriptors that came with a packet.

use std::fs::File;
use std::os::fd::OwnedFd;

/// A descriptor that a message names and the packet lacks.
#[derive(Debug, thiserror::Error)]
#[error("descriptor {position} for the {what} is missing or used twice")]
pub struct FdError {
    what: &'static str,
    position: u32,
}

/// A packet's descriptors by position. What nobody takes is closed.
#[derive(Debug, Default)]
pub struct Fds(Vec<Option<OwnedFd>>);

impl Fds {
    /// The descriptors in the order they came.
    pub fn new(fds: Vec<OwnedFd>) -> Self {
        Self(fds.into_iter().map(Some).collect())
    }

    /// Takes the descriptor at `position`, which the message calls `what`.
    ///
    /// # Errors
    ///
    /// When it is not there or already taken.
    pub fn take(&mut self, what: &'static str, position: u32) -> Result<OwnedFd, FdError> {
        self.0
            .get_mut(position as usize)
            .and_then(Option::take)
            .ok_or(FdError { what, position })
    }

    /// Takes a descriptor as a file.
    ///
    /// # Errors
    ///
    /// As [`Fds::take`].
    pub fn file(&mut self, what: &'static str, position: u32) -> Result<File, FdError> {
        self.take(what, position).map(File::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_taken_once() {
        let mut fds = Fds::new(vec![File::open("/dev/null").unwrap().into()]);
        assert!(fds.take("first", 0).is_ok());
        assert!(fds.take("again", 0).is_err());
        assert!(fds.take("beyond", 1).is_err());
    }
}
