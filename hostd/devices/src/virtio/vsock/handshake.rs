//! What a host program says before its connection is a stream: `CONNECT <port>\n`.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{MsgFlags, recv};
use thiserror::Error;

/// The longest line, `CONNECT 4294967295\n`, has 19 bytes.
const MAX_LINE: usize = 32;

/// Why a host program's connection goes no further.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// It has not said what it has to.
    #[error("not CONNECT and a port")]
    Syntax,
    /// It went away, or its socket is broken.
    #[error("socket")]
    Socket(#[from] io::Error),
}

/// A host program that has connected and not yet said where to.
pub struct Handshake(UnixStream);

impl Handshake {
    /// A connection fresh from the listener.
    ///
    /// # Errors
    /// When it cannot be made non-blocking.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self(stream))
    }

    /// The port of the guest that the program wants, once it has said so. Takes nothing of what
    /// it may have said after that.
    ///
    /// # Errors
    /// [`HandshakeError`]; the connection is then of no use.
    pub fn port(&self) -> Result<Option<u32>, HandshakeError> {
        let mut line = [0; MAX_LINE];
        let seen = match self.receive(&mut line, MsgFlags::MSG_PEEK) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            other => other?,
        };
        let seen = line.get(..seen).unwrap_or_default();
        let Some(end) = seen.iter().position(|byte| *byte == b'\n') else {
            // An end of file is seen as a line of no bytes.
            let complete = seen.is_empty() || seen.len() == MAX_LINE;
            return if complete {
                Err(HandshakeError::Syntax)
            } else {
                Ok(None)
            };
        };
        let port = parse(seen.get(..end).unwrap_or_default()).ok_or(HandshakeError::Syntax)?;
        let mut said = [0; MAX_LINE];
        self.receive(said.get_mut(..=end).unwrap_or_default(), MsgFlags::empty())?;
        Ok(Some(port))
    }

    /// The connection, for what comes next.
    pub fn into_stream(self) -> UnixStream {
        self.0
    }

    fn receive(&self, into: &mut [u8], flags: MsgFlags) -> io::Result<usize> {
        Ok(recv(self.0.as_raw_fd(), into, flags)?)
    }
}

impl AsRawFd for Handshake {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// The port in a line without its end. The highest number means "any port" and is none.
fn parse(line: &[u8]) -> Option<u32> {
    let digits = line.strip_prefix(b"CONNECT ")?;
    let digits = digits.strip_suffix(b"\r").unwrap_or(digits);
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let port = str::from_utf8(digits).ok()?.parse().ok()?;
    (port != u32::MAX).then_some(port)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn says(words: &[u8]) -> (Result<Option<u32>, HandshakeError>, Handshake, UnixStream) {
        let (mut program, stream) = UnixStream::pair().unwrap();
        program.write_all(words).unwrap();
        let handshake = Handshake::new(stream).unwrap();
        (handshake.port(), handshake, program)
    }

    #[test]
    fn the_line_is_taken_and_nothing_else() {
        let (port, handshake, _program) = says(b"CONNECT 1024\nhello");
        assert_eq!(port.unwrap(), Some(1024));
        let mut rest = [0; 5];
        handshake.into_stream().read_exact(&mut rest).unwrap();
        assert_eq!(&rest, b"hello");
    }

    #[test]
    fn a_line_may_come_in_pieces() {
        let (port, handshake, mut program) = says(b"CONN");
        assert!(port.unwrap().is_none());
        program.write_all(b"ECT 4294967294\n").unwrap();
        assert_eq!(handshake.port().unwrap(), Some(4_294_967_294));
    }

    #[test]
    fn anything_else_is_refused() {
        for words in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"CONNECT \n",
            b"CONNECT -1\n",
            b"CONNECT +1\n",
            b"CONNECT 4294967295\n",
            b"CONNECT 99999999999\n",
            b"CONNECT 1 \n",
            b"\n",
            b"CONNECT 00000000000000000000000000001\n",
        ] {
            assert!(says(words).0.is_err(), "{}", words.escape_ascii());
        }
    }

    #[test]
    fn a_program_that_leaves_is_noticed() {
        let (_, handshake, program) = says(b"");
        drop(program);
        assert!(handshake.port().is_err());
    }
}
