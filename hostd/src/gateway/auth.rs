//! Who may call.

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::error::ApiError;
use super::server::Gateway;
use crate::api::auth::bearer;

/// Lets requests through that show the token.
pub(super) async fn guard(
    State(gateway): State<Gateway>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let token = &gateway.sandboxes.services().config.token;
    let shown = request.headers().get(header::AUTHORIZATION);
    let shown = shown.and_then(|value| bearer(value.as_bytes()));
    let admitted = match (token, shown) {
        (None, _) => true,
        (Some(token), Some(shown)) => token.matches(shown),
        (Some(_), None) => false,
    };
    if admitted {
        return Ok(next.run(request).await);
    }
    let message = "the token is not that of hostd's --token-file; set DENO_DEPLOY_TOKEN to it";
    // The SDKs know it by this code.
    Err(ApiError::new(
        StatusCode::UNAUTHORIZED,
        "INVALID_TOKEN",
        message,
    ))
}
