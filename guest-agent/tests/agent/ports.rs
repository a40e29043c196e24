//! Connections to TCP ports.

use std::net::Ipv4Addr;

use futures::stream;
use protocol::agent::v1::dial_input::Input;
use protocol::agent::v1::dial_target::Target;
use protocol::agent::v1::{DialInput, DialOutput, DialTarget};
use sandbox_rpc::exposed;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::harness::{Guest, Recorder, within};

type Dialled = (mpsc::Sender<DialInput>, Streaming<DialOutput>);

async fn dial(guest: &mut Guest, target: Target) -> Result<Dialled, Status> {
    let (sender, inputs) = mpsc::channel(4);
    let first = Input::Target(DialTarget {
        target: Some(target),
    });
    sender.send(input(first)).await.unwrap();
    let outputs = within(guest.ports.dial(ReceiverStream::new(inputs))).await?;
    Ok((sender, outputs.into_inner()))
}

fn input(input: Input) -> DialInput {
    DialInput { input: Some(input) }
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[tokio::test]
async fn bytes_go_both_ways_until_either_end() {
    let mut guest = Guest::running().await;
    let (listener, port) = listener().await;
    // Says back what it is told, once it has been told all.
    let echo = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.unwrap();
        stream.write_all(&heard).await.unwrap();
    });
    exposed::expose(guest.run.path(), "a.example", exposed::Target::Port(port)).unwrap();
    let name = Target::Exposed("a.example".into());
    let (sender, mut outputs) = dial(&mut guest, name).await.unwrap();
    let sent: Vec<u8> = (0..3 << 20).map(|at: u32| (at % 251) as u8).collect();
    for piece in sent.chunks(300_000) {
        let data = Input::Data(piece.to_vec().into());
        sender.send(input(data)).await.unwrap();
    }
    drop(sender);
    let mut heard = Vec::new();
    while let Some(output) = within(outputs.message()).await.unwrap() {
        heard.extend_from_slice(&output.data);
    }
    assert!(heard == sent, "{} of {} bytes", heard.len(), sent.len());
    within(echo).await.unwrap();
}

#[tokio::test]
async fn what_nobody_wants_any_more_is_closed() {
    let mut guest = Guest::running().await;
    let (listener, port) = listener().await;
    let (sender, outputs) = dial(&mut guest, Target::Port(port.into())).await.unwrap();
    let (mut stream, _) = within(listener.accept()).await.unwrap();
    drop((outputs, sender));
    let mut rest = Vec::new();
    // An end or a reset: either way it is over.
    let _ = within(stream.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn what_cannot_be_dialled_says_why() {
    let mut guest = Guest::running().await;
    let (listener, port) = listener().await;
    drop(listener);
    for (target, code) in [
        (Target::Port(port.into()), Code::Unavailable),
        (Target::Port(0), Code::InvalidArgument),
        (Target::Port(70_000), Code::InvalidArgument),
        (Target::Exposed("none.example".into()), Code::NotFound),
        (Target::Exposed("../rpc.sock".into()), Code::NotFound),
    ] {
        let refused = dial(&mut guest, target.clone()).await.unwrap_err();
        assert_eq!(refused.code(), code, "{target:?}: {refused:?}");
    }
    let data = input(Input::Data("x".into()));
    let refused = guest.ports.dial(stream::iter([data])).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn nothing_is_dialled_before_the_barrier() {
    let mut guest = Guest::booted(Recorder::default()).await;
    let refused = dial(&mut guest, Target::Port(1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("barrier"), "{refused:?}");
}
