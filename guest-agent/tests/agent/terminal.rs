//! Programs on a pseudo-terminal.

use std::time::Duration;

use futures::StreamExt;
use protocol::types::v1::{CloseStdin, ProcessSpec, PtySize, process_input::Input};
use tokio_stream::wrappers::ReceiverStream;

use crate::harness::{Guest, collect, program, read_until, shell};

fn on_terminal(spec: ProcessSpec) -> ProcessSpec {
    ProcessSpec {
        pty: Some(PtySize { rows: 24, cols: 80 }),
        ..spec
    }
}

#[tokio::test]
async fn a_terminal_is_all_three_streams_and_controls() {
    let mut guest = Guest::running().await;
    let line = "test -t 0 && test -t 1 && test -t 2 && stty size && echo $TERM >/dev/tty; exit 3";
    let outcome = guest.run(on_terminal(shell(line))).await.unwrap();
    assert_eq!(
        (outcome.text(), outcome.code()),
        ("24 80\r\nxterm-256color\r\n", Some(3))
    );
    let spec = ProcessSpec {
        user: "65534".into(),
        ..on_terminal(shell("echo mine >/dev/tty"))
    };
    assert_eq!(guest.run(spec).await.unwrap().text(), "mine\r\n");
}

#[tokio::test]
async fn a_resize_is_seen_and_signalled() {
    let mut guest = Guest::running().await;
    let (send, receive) = tokio::sync::mpsc::channel(4);
    let line = "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.05; done";
    let spec = on_terminal(shell(line));
    let mut output = guest
        .exec_with(spec, ReceiverStream::new(receive))
        .await
        .unwrap();
    read_until(&mut output, |outcome| {
        outcome.stdout.ends_with(b"ready\r\n")
    })
    .await;
    send.send(Input::Resize(PtySize {
        rows: 50,
        cols: 132,
    }))
    .await
    .unwrap();
    let outcome = collect(output).await.unwrap();
    assert_eq!(outcome.text(), "50 132\r\n");
}

#[tokio::test]
async fn keys_interrupt_and_close() {
    let mut guest = Guest::running().await;
    let (send, receive) = tokio::sync::mpsc::channel(4);
    let spec = on_terminal(program("cat", &[]));
    let output = guest
        .exec_with(spec, ReceiverStream::new(receive))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    send.send(Input::Stdin("\u{3}".into())).await.unwrap();
    assert_eq!(collect(output).await.unwrap().signal(), Some(2));

    let inputs = [
        Input::Stdin("line\n".into()),
        Input::CloseStdin(CloseStdin {}),
    ];
    let inputs = futures::stream::iter(inputs).chain(futures::stream::pending());
    let output = guest
        .exec_with(on_terminal(program("cat", &[])), inputs)
        .await
        .unwrap();
    let outcome = collect(output).await.unwrap();
    assert_eq!(
        (outcome.text(), outcome.code()),
        ("line\r\nline\r\n", Some(0))
    );
}

#[tokio::test]
async fn a_terminals_last_output_is_not_lost() {
    let mut guest = Guest::running().await;
    for _ in 0..20 {
        let outcome = guest.run(on_terminal(shell("seq 1 2000"))).await.unwrap();
        assert!(outcome.text().ends_with("1999\r\n2000\r\n"));
        assert_eq!(outcome.text().lines().count(), 2000);
    }
}
