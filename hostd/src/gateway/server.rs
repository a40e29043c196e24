//! The routes, and what they share.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, delete, get, post};
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;

use super::{auth, rest, session, snapshots};
use crate::error::chain;
use crate::http::Listener;
use crate::ingress::Names;
use crate::sandboxes::Sandboxes;
use crate::ssh::Users;
use crate::tenancy::Caller;

/// Connections at a time that do not speak for a sandbox yet, or have asked for something else.
const CONNECTIONS: usize = 1024;
/// WebSockets at a time.
const SESSIONS: usize = 4096;

/// How sandboxes are reached from outside, if they are.
#[derive(Clone, Debug, Default)]
pub struct Exposure {
    /// By HTTP.
    pub http: Option<Arc<Names>>,
    /// By SSH.
    pub ssh: Option<Arc<Users>>,
}

/// What the routes need.
#[derive(Clone)]
pub(super) struct Gateway {
    pub(super) sandboxes: Sandboxes,
    pub(super) exposure: Exposure,
    /// Places for those who speak for a sandbox.
    pub(super) sessions: Arc<Semaphore>,
}

/// Serves them until hostd has ended all sandboxes: clients hear of the end of theirs.
pub async fn serve(listener: Listener, sandboxes: Sandboxes, exposure: Exposure) {
    let all_ended = sandboxes.services().all_ended.clone();
    tokio::spawn(prepare(sandboxes.clone()));
    let gateway = Gateway {
        sandboxes,
        exposure,
        sessions: Arc::new(Semaphore::new(SESSIONS)),
    };
    let service = TowerToHyperService::new(routes(gateway));
    listener.serve(CONNECTIONS, all_ended, service).await;
}

/// Loads what most sandboxes will come from: the SDKs wait for the first of them no longer than for any other.
async fn prepare(sandboxes: Sandboxes) {
    let services = sandboxes.services();
    let name = &services.config.gateway_snapshot;
    let loaded = async {
        let snapshot = services.store.find(&Caller::operator(), name).await?;
        services.templates.get(&snapshot).await
    };
    if let Err(error) = loaded.await {
        tracing::warn!(snapshot = %name, error = %chain(&error), "--gateway-snapshot is not ready");
    }
}

fn routes(gateway: Gateway) -> Router {
    let one = delete(rest::delete).patch(rest::patch);
    Router::new()
        .route("/api/v3/sandboxes/create", any(session::create))
        .route("/api/v3/sandbox/{id}/connect", any(session::connect))
        .route("/api/v3/sandbox/{id}", one.clone())
        .route("/api/v3/sandboxes/{id}", one)
        .route("/api/v3/sandbox/{id}/expose/http", post(rest::expose_http))
        .route(
            "/api/v3/sandbox/{id}/expose/vscode",
            post(rest::expose_http),
        )
        .route("/api/v3/sandbox/{id}/expose/ssh", post(rest::expose_ssh))
        .route("/api/v3/sandboxes", get(rest::list))
        .route("/api/v2/sandboxes", get(rest::list))
        .route("/api/v2/snapshots", get(snapshots::list))
        .route(
            "/api/v2/snapshots/{reference}",
            get(snapshots::get).delete(snapshots::delete),
        )
        .fallback(rest::unsupported)
        .layer(from_fn_with_state(gateway.clone(), auth::guard))
        .with_state(gateway)
}
