//! HTTP towards the guest: hyper's servers, with our limits.

use std::convert::Infallible;
use std::future::Future;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::Body;
use super::limits;
use super::protocol::Protocol;
use super::tasks::Tasks;

/// Serves one connection of the guest until it ends. What ends it early is the guest's doing, and told to nobody else.
pub(super) async fn serve<S, A, F>(
    stream: S,
    protocol: Protocol,
    tasks: &Tasks,
    answer: A,
) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let service = service_fn(|request| {
        // Boxed, because hyper moves it, and it is large.
        let answered = Box::pin(answer(request));
        async move { Ok::<_, Infallible>(answered.await) }
    });
    match protocol {
        Protocol::Http1 => {
            http1()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await
        }
        Protocol::Http2 => {
            http2(tasks)
                .serve_connection(TokioIo::new(stream), service)
                .await
        }
    }
}

fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEAD_TIME)
        .max_header_size(limits::HEAD)
        .max_buf_size(limits::H1_BUFFER)
        .title_case_headers(true)
        // What the upstream sends is passed on, and nothing added.
        .auto_date_header(false);
    builder
}

fn http2(tasks: &Tasks) -> http2::Builder<Tasks> {
    let mut builder = http2::Builder::new(tasks.clone());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::H2_STREAMS)
        .initial_stream_window_size(limits::H2_STREAM_WINDOW)
        .initial_connection_window_size(limits::H2_CONNECTION_WINDOW)
        .max_header_list_size(limits::HEAD as u32)
        .max_send_buf_size(limits::H2_SEND_BUFFER)
        .max_pending_accept_reset_streams(limits::H2_PENDING_RESETS)
        .max_local_error_reset_streams(limits::H2_ERROR_RESETS)
        .keep_alive_interval(limits::H2_PING_EVERY)
        .keep_alive_timeout(limits::H2_PING_TIME)
        .auto_date_header(false);
    builder
}
