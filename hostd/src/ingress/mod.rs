//! HTTP from outside to what a sandbox has exposed: hosts below a domain, on an address of their own (`--ingress`).
//!
//! ```text
//! browser ─ TLS ─► Listener ─► Proxy ─► hyper's client, with its pool ─► Guest ─ gRPC, vsock ─► agent ─► 127.0.0.1:PORT
//!                                │ which sandbox? [`Names`]                       which port? `sandbox_rpc::exposed`
//! ```
//!
//! A name is made when a client asks for one, and says by itself which sandbox it belongs to: nothing is kept, and nothing has
//! to be removed. What it leads to the client tells the guest; the host need not know.

mod guest;
mod names;
mod proxy;

use std::sync::Arc;

use crate::http::Listener;
use crate::sandboxes::Sandboxes;

pub use names::{Domain, InvalidDomain, Names};

/// Connections at a time.
const CONNECTIONS: usize = 4096;

/// Serves until hostd has ended all sandboxes.
pub async fn serve(listener: Listener, sandboxes: Sandboxes, names: Arc<Names>) {
    let all_ended = sandboxes.services().all_ended.clone();
    let proxy = proxy::Proxy::new(sandboxes, names);
    let service = hyper::service::service_fn(move |request| {
        let proxy = proxy.clone();
        async move { Ok::<_, std::convert::Infallible>(proxy.answer(request).await) }
    });
    listener.serve(CONNECTIONS, all_ended, service).await;
}
