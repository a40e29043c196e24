//! [`GatewayListener`]: the address, and the routes behind it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, delete, get};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::{auth, rest, session};
use crate::http;
use crate::sandboxes::Sandboxes;

/// Connections at a time that do not speak for a sandbox yet, or have asked for something else.
const CONNECTIONS: usize = 1024;
/// WebSockets at a time.
const SESSIONS: usize = 4096;

/// What the routes need.
#[derive(Clone)]
pub(super) struct Gateway {
    pub(super) sandboxes: Sandboxes,
    /// Places for those who speak for a sandbox.
    pub(super) sessions: Arc<Semaphore>,
}

/// Why it cannot serve.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (--gateway)")]
pub struct GatewayError {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// A bound listener.
#[derive(Debug)]
pub struct GatewayListener {
    listener: TcpListener,
    address: SocketAddr,
}

impl GatewayListener {
    /// Binds the address.
    ///
    /// # Errors
    /// [`GatewayError`]: it cannot be listened on.
    pub async fn bind(address: SocketAddr) -> Result<Self, GatewayError> {
        let failed = |source| GatewayError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Where it listens, with the port that the kernel chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until hostd is to end. Clients hear of the end of their sandboxes.
    pub async fn serve(self, sandboxes: Sandboxes) {
        let all_ended = sandboxes.services().all_ended.clone();
        let gateway = Gateway {
            sandboxes,
            sessions: Arc::new(Semaphore::new(SESSIONS)),
        };
        let service = TowerToHyperService::new(routes(gateway));
        http::serve(self.listener, CONNECTIONS, all_ended, service).await;
    }
}

fn routes(gateway: Gateway) -> Router {
    let one = delete(rest::delete).patch(rest::patch);
    Router::new()
        .route("/api/v3/sandboxes/create", any(session::create))
        .route("/api/v3/sandbox/{id}/connect", any(session::connect))
        .route("/api/v3/sandbox/{id}", one.clone())
        .route("/api/v3/sandboxes/{id}", one)
        .route("/api/v3/sandboxes", get(rest::list))
        .route("/api/v2/sandboxes", get(rest::list))
        .fallback(rest::unsupported)
        .layer(from_fn_with_state(gateway.clone(), auth::guard))
        .with_state(gateway)
}
