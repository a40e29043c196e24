//! A client that breaks off has not finished, and the agent has to know both: at once that it is over, and that it was no end.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::{Stream, StreamExt, TryFutureExt, stream};
use hostd::agent::exchange::{Answer, exchange};
use protocol::hostd::v1::processes_client::ProcessesClient;
use protocol::hostd::v1::{ExecRequest, ReadFileRequest, WriteFileRequest};
use protocol::types::v1::process_input::Input;
use protocol::types::v1::{ReadFile, WriteFile, WriteInput, write_input};
use tokio::net::UnixStream;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response, Uri};
use tonic::codegen::{Bytes, StdError};
use tower::Service;

use crate::host::{Host, socket};
use crate::streams::{exec, request, start};

/// The agent hears of a broken stream within this.
const NOTICE: Duration = Duration::from_secs(1);

/// A client that resets a call when it drops the answer. tonic's own leaves it open until the request's stream ends.
#[derive(Clone)]
struct Resetting(h2::client::SendRequest<Bytes>);

impl Resetting {
    async fn processes(host: &Host) -> ProcessesClient<Self> {
        let stream = UnixStream::connect(socket(host.temp.path())).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        ProcessesClient::with_origin(Self(sender), Uri::from_static("http://hostd"))
    }
}

impl Service<Request<Body>> for Resetting {
    type Response = Response<Answer>;
    type Error = StdError;
    type Future = BoxFuture<'static, Result<Response<Answer>, StdError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(exchange(self.0.clone(), request, None).err_into())
    }
}

/// How the agent saw its request streams end.
async fn ends(host: &Host, id: &str) -> String {
    let request = ReadFileRequest {
        sandbox_id: id.into(),
        read: Some(ReadFile {
            path: "/ends".into(),
            ..Default::default()
        }),
    };
    let mut chunks = host.files().read(request).await.unwrap().into_inner();
    let data = chunks.message().await.unwrap().unwrap().data;
    String::from_utf8(data.into()).unwrap()
}

async fn sees(host: &Host, id: &str, expected: &str) {
    let started = Instant::now();
    loop {
        let seen = ends(host, id).await;
        if seen == expected {
            return;
        }
        assert!(started.elapsed() < NOTICE, "{seen}, not {expected}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn half_a_file(id: &str) -> impl Stream<Item = WriteFileRequest> + use<> {
    let message = |input| WriteFileRequest {
        sandbox_id: id.into(),
        input: Some(WriteInput { input: Some(input) }),
    };
    let open = message(write_input::Input::Open(WriteFile {
        path: "/x".into(),
        ..Default::default()
    }));
    let data = message(write_input::Input::Data(vec![1; 4096].into()));
    stream::iter([open, data])
}

#[tokio::test]
async fn a_program_is_left() {
    let host = Host::start().await;
    let id = host.boot("").await.unwrap().id;
    let mut processes = Resetting::processes(&host).await;
    for count in 1..=5 {
        let inputs = stream::iter([request(&id, start("cat", &[]))]).chain(stream::pending());
        let mut outputs = processes.exec(inputs).await.unwrap().into_inner();
        outputs.message().await.unwrap();
        drop(outputs);
        sees(&host, &id, &format!("0 finished, {count} broken")).await;
    }
}

#[tokio::test]
async fn a_program_that_does_not_read_is_left() {
    let host = Host::start().await;
    let id = host.boot("").await.unwrap().id;
    let opening = stream::iter([request(&id, start("deaf", &[]))]);
    let chunk = || request("", Input::Stdin(vec![0; 1 << 20].into()));
    let endless = opening.chain(stream::repeat_with(chunk));
    let mut processes = Resetting::processes(&host).await;
    let mut outputs = processes.exec(endless).await.unwrap().into_inner();
    outputs.message().await.unwrap();
    // Until every window on the way is full.
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(outputs);
    sees(&host, &id, "0 finished, 1 broken").await;
}

#[tokio::test]
async fn half_a_file_is_not_kept() {
    let host = Host::start().await;
    let id = host.boot("").await.unwrap().id;
    for count in 1..=20 {
        let mut files = host.files();
        let write = files.write(half_a_file(&id).chain(stream::pending()));
        let broken_off = tokio::time::timeout(Duration::from_millis(100), write).await;
        assert!(broken_off.is_err());
        sees(&host, &id, &format!("0 finished, {count} broken")).await;
    }
}

#[tokio::test]
async fn a_wrong_message_breaks_the_stream_off() {
    let host = Host::start().await;
    let id = host.boot("").await.unwrap().id;
    let opening_again = half_a_file(&id).take(1);
    let wrong = half_a_file(&id).chain(opening_again);
    host.files().write(wrong).await.unwrap_err();
    sees(&host, &id, "0 finished, 1 broken").await;
}

#[tokio::test]
async fn an_end_is_an_end() {
    let host = Host::start().await;
    let id = host.boot("").await.unwrap().id;
    host.files().write(half_a_file(&id)).await.unwrap();
    sees(&host, &id, "1 finished, 0 broken").await;
    let inputs: [ExecRequest; 1] = [request(&id, start("cat", &[]))];
    let outputs = host.processes().exec(stream::iter(inputs)).await.unwrap();
    let seen: Vec<_> = outputs.into_inner().collect().await;
    assert!(
        seen.iter().all(Result::is_ok) && seen.len() == 2,
        "{seen:?}"
    );
    sees(&host, &id, "2 finished, 0 broken").await;
    exec(&host, &id, "exit", &["0"]).await.unwrap();
}
