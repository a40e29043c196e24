//! Who calls.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;

use super::error::ApiError;
use super::server::Gateway;

/// A request's body: a few numbers.
const LONGEST_BODY: usize = 64 << 10;
/// How long a client may take for it.
const BODY_TIME: Duration = Duration::from_secs(10);

/// Lets requests through that show a token, and tells whose it is.
pub(super) async fn guard(
    State(gateway): State<Gateway>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let door = gateway.sandboxes.services().door();
    if let Some(caller) = door.caller(request.headers()) {
        request.extensions_mut().insert(caller);
        return Ok(next.run(whole(request).await?).await);
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

/// A request with all of its body: who does not send it keeps no place for long.
async fn whole(request: Request) -> Result<Request, ApiError> {
    let (head, body) = request.into_parts();
    let read = tokio::time::timeout(BODY_TIME, to_bytes(body, LONGEST_BODY)).await;
    let invalid = |status, text| ApiError::new(status, "INVALID_ARGUMENT", text);
    match read {
        Ok(Ok(bytes)) => Ok(Request::from_parts(head, Body::from(bytes))),
        Ok(Err(_)) => Err(invalid(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the request's body is too long, or broke off",
        )),
        Err(_) => Err(invalid(
            StatusCode::REQUEST_TIMEOUT,
            "the request's body did not come",
        )),
    }
}
