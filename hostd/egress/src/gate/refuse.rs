//! How a client is told that its connection goes nowhere.

use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// RFC 8446, section 6: a fatal `access_denied`, in a record of its own. TLS libraries print it by name.
const ACCESS_DENIED: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];
/// How long a client has to take the alert and hang up.
const LINGER: Duration = Duration::from_secs(2);
/// What it may still say meanwhile.
const LEFT_OVER: usize = 4096;

/// Ends a connection by a reset: the client sees at once that something is wrong, whatever it speaks.
pub(super) fn reset(stream: &TcpStream) {
    // If it fails, the connection ends in the ordinary way when it is dropped.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Ends a connection in the way of TLS.
pub(super) async fn alert(mut stream: TcpStream) {
    let told = async {
        stream.write_all(&ACCESS_DENIED).await?;
        stream.shutdown().await?;
        // What is unread when a socket is closed makes it a reset, and the alert would be lost.
        let mut rest = [0; LEFT_OVER];
        stream.read(&mut rest).await
    };
    // The client is gone, or will not go: both end here.
    let _ = timeout(LINGER, told).await;
}
