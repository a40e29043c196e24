//! How much of a stream waits in the kernel.
//!
//! Left alone, the kernel lets megabytes wait wherever one side is slower than the other. Between neighbours that gains
//! nothing: what waits falls out of the processor's cache before the other side reads it, and is memory that a guest
//! which does not read holds on the host.

use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

/// What waits for a neighbour and what waits from one. The kernel takes it twice, for its own records beside the bytes.
const NEIGHBOURLY: usize = 128 << 10;
/// Whoever accepts a connection within this time is a neighbour: [`NEIGHBOURLY`] in this time is 4 Gbit/s. For all
/// others the kernel finds out how much has to be on the way.
const NEAR: Duration = Duration::from_micros(250);

/// For a connection of the guest, who is a neighbour always.
pub(super) fn of_guest(stream: &TcpStream) {
    // A refusal means that more waits.
    let _ = SockRef::from(stream).set_send_buffer_size(NEIGHBOURLY);
}

/// For a connection to a host that took so long to be made.
pub(super) fn of_host(stream: &TcpStream, connecting: Duration) {
    if connecting < NEAR {
        let _ = SockRef::from(stream).set_recv_buffer_size(NEIGHBOURLY);
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn little_waits_between_neighbours_and_what_is_needed_from_afar() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let [near, far] = [NEAR / 2, NEAR * 2];
        let received = async |connecting| {
            let stream = TcpStream::connect(address).await.unwrap();
            let before = SockRef::from(&stream).recv_buffer_size().unwrap();
            of_host(&stream, connecting);
            (before, SockRef::from(&stream).recv_buffer_size().unwrap())
        };
        assert_eq!(received(near).await.1, 2 * NEIGHBOURLY);
        let (before, after) = received(far).await;
        assert_eq!(before, after);

        let guest = TcpStream::connect(address).await.unwrap();
        of_guest(&guest);
        let sent = SockRef::from(&guest).send_buffer_size().unwrap();
        assert_eq!(sent, 2 * NEIGHBOURLY);
    }
}
