//! Connections from the host.
//!
//! When a machine is restored the vsock transport is reset: connections break, the listening socket stays. Nothing
//! that happens to a connection, and no error of accept, ends the stream of connections.
//!
//! Only the host is served: a program of the guest that reaches the port, through a loopback of vsock, could else
//! have the agent act as root.

use std::io;
use std::time::Duration;

use futures::Stream;
use tokio_vsock::{VMADDR_CID_ANY, VMADDR_CID_HOST, VsockAddr, VsockListener, VsockStream};

/// How long to wait after an error of accept, which may be a shortage of descriptors or memory.
const RETRY: Duration = Duration::from_millis(20);

/// Listens on a port and never ends.
///
/// # Errors
/// When the port cannot be had, for example because the guest has no vsock device.
pub(super) fn listen(port: u32) -> io::Result<impl Stream<Item = io::Result<VsockStream>>> {
    let listener = VsockListener::bind(VsockAddr::new(VMADDR_CID_ANY, port))?;
    Ok(futures::stream::unfold(listener, |listener| async {
        loop {
            match listener.accept().await {
                Ok((connection, peer)) if is_host(&peer) => {
                    return Some((Ok(connection), listener));
                }
                // Closed, and not reported: whoever connects could fill the console with it.
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "accept");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }))
}

fn is_host(peer: &VsockAddr) -> bool {
    peer.cid() == VMADDR_CID_HOST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_host_is_served() {
        let local = tokio_vsock::VMADDR_CID_LOCAL;
        let (hypervisor, guest) = (tokio_vsock::VMADDR_CID_HYPERVISOR, 3);
        assert!(is_host(&VsockAddr::new(VMADDR_CID_HOST, 5000)));
        for cid in [local, hypervisor, guest, VMADDR_CID_ANY] {
            assert!(!is_host(&VsockAddr::new(cid, 5000)), "{cid}");
        }
    }
}
