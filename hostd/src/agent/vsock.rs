//! A stream to a port of the guest, through the vmm's unix socket:
//! we write `CONNECT <port>\n`, the vmm answers `OK <its port>\n` once the guest has accepted.

use std::io;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// `OK 4294967295\n` and some room.
const MAX_ANSWER_BYTES: usize = 32;

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum VsockError {
    /// The vmm's socket cannot be used, or was closed: nobody listens in the guest yet.
    #[error("the guest does not listen on vsock port {port}")]
    Refused {
        /// The port asked for.
        port: u32,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The vmm's answer is not `OK`.
    #[error("the vmm answered CONNECT with {0:?}")]
    Answer(String),
}

/// Connects to `port` of the guest behind `socket`. The caller sets the deadline.
pub async fn connect(socket: &Path, port: u32) -> Result<UnixStream, VsockError> {
    let refused = |source| VsockError::Refused { port, source };
    let mut stream = UnixStream::connect(socket).await.map_err(refused)?;
    stream
        .write_all(format!("CONNECT {port}\n").as_bytes())
        .await
        .map_err(refused)?;
    let answer = read_line(&mut stream).await.map_err(refused)?;
    let accepted = answer
        .strip_prefix(b"OK ")
        .is_some_and(|port| !port.is_empty() && port.iter().all(u8::is_ascii_digit));
    if accepted {
        return Ok(stream);
    }
    Err(VsockError::Answer(
        String::from_utf8_lossy(&answer).into_owned(),
    ))
}

/// Byte by byte: what comes after the line already belongs to the guest's stream.
async fn read_line(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::with_capacity(MAX_ANSWER_BYTES);
    loop {
        match stream.read_u8().await? {
            b'\n' => return Ok(line),
            _ if line.len() == MAX_ANSWER_BYTES => return Ok(line),
            byte => line.push(byte),
        }
    }
}
