//! Connections from the host.
//!
//! When a machine is restored the vsock transport is reset: connections break, the listening socket stays. Nothing
//! that happens to a connection, and no error of accept, ends the stream of connections.

use std::io;
use std::time::Duration;

use futures::Stream;
use tokio_vsock::{VMADDR_CID_ANY, VsockAddr, VsockListener, VsockStream};

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
                Ok((connection, _)) => return Some((Ok(connection), listener)),
                Err(error) => {
                    tracing::warn!(%error, "accept");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }))
}
