//! Who calls.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;

use super::error::ApiError;
use super::server::Gateway;

/// Lets requests through that show a token, and tells whose it is.
pub(super) async fn guard(
    State(gateway): State<Gateway>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let door = gateway.sandboxes.services().door();
    if let Some(caller) = door.caller(request.headers()) {
        request.extensions_mut().insert(caller);
        return Ok(next.run(request).await);
    }
    let message = "the token is neither that of hostd's --token-file nor one that `thaw token create` made; set \
                   DENO_DEPLOY_TOKEN to such a one";
    // The SDKs know it by this code.
    Err(ApiError::new(
        StatusCode::UNAUTHORIZED,
        "INVALID_TOKEN",
        message,
    ))
}
