//! Telling a client that broke off from one that has finished.
//!
//! tonic takes the reset of a request stream for its end. To a service that passes streams on that is not the same: an end
//! makes the agent keep what it has got so far as a whole file. So a reset becomes another error before tonic sees it.

use http_body_util::BodyExt;
use tonic::body::Body;
use tonic::codegen::http::Request;
use tonic::{Code, Status};

use crate::error::Error;

/// For a layer over all services.
pub fn tell_resets(request: Request<Body>) -> Request<Body> {
    request.map(|body| Body::new(body.map_err(tell_reset)))
}

fn tell_reset(status: Status) -> Status {
    match status.code() {
        Code::Cancelled => Error::BrokenOff.into(),
        _ => status,
    }
}
