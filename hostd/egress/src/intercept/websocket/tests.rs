use bytes::Bytes;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};
use tungstenite::protocol::{CloseFrame, Message, Role, WebSocket, WebSocketConfig};

use super::frames::FrameError;
use super::*;

/// Writes `secret` for `marker`, and holds back what may become one.
struct Swap {
    held: Vec<u8>,
}

const MARKER: &[u8] = b"marker";
const SECRET: &[u8] = b"a-secret";

impl Transform for Swap {
    fn feed(&mut self, chunk: Bytes) -> Bytes {
        self.held.extend_from_slice(&chunk);
        let mut out = Vec::new();
        while !self.held.is_empty() {
            if self.held.starts_with(MARKER) {
                out.extend_from_slice(SECRET);
                self.held.drain(..MARKER.len());
            } else if MARKER.starts_with(&self.held) {
                break;
            } else {
                out.push(self.held.remove(0));
            }
        }
        out.into()
    }

    fn finish(&mut self) -> Bytes {
        std::mem::take(&mut self.held).into()
    }
}

fn swap(_text: bool) -> Swap {
    Swap { held: Vec::new() }
}

fn wire(frames: Vec<Frame>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        frame.format(&mut bytes).unwrap();
    }
    bytes
}

fn frame(kind: Data, last: bool, payload: &[u8], mask: bool) -> Frame {
    let mut frame = Frame::message(payload.to_vec(), OpCode::Data(kind), last);
    frame.header_mut().mask = mask.then_some([1, 2, 3, 4]);
    frame
}

fn pass(sender: Sender, bytes: &[u8], step: usize) -> Result<Vec<u8>, FrameError> {
    let mut frames = Frames::new(sender, swap);
    let mut out = Vec::new();
    for chunk in bytes.chunks(step) {
        frames.feed(chunk, &mut out)?;
    }
    Ok(out)
}

/// What the other side understands of it.
fn messages(sender: Sender, bytes: &[u8]) -> Vec<Message> {
    struct Half<'a>(&'a [u8]);
    impl std::io::Read for Half<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            std::io::Read::read(&mut self.0, buffer)
        }
    }
    impl std::io::Write for Half<'_> {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            Ok(buffer.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let role = if sender == Sender::Client {
        Role::Server
    } else {
        Role::Client
    };
    let config = WebSocketConfig::default()
        .max_message_size(None)
        .max_frame_size(None);
    let mut socket = WebSocket::from_raw_socket(Half(bytes), role, Some(config));
    std::iter::from_fn(|| socket.read().ok()).collect()
}

#[test]
fn a_message_is_rewritten_and_its_length_mended_for_any_chunking() {
    for sender in [Sender::Client, Sender::Server] {
        let bytes = wire(vec![frame(
            Data::Text,
            true,
            b"give marker, mark",
            sender == Sender::Client,
        )]);
        for step in 1..bytes.len() {
            let out = pass(sender, &bytes, step).unwrap();
            assert_eq!(
                messages(sender, &out),
                [Message::text("give a-secret, mark")]
            );
        }
    }
}

#[test]
fn a_marker_is_found_across_fragments_with_a_ping_between() {
    let mut ping = Frame::ping(&b"hello"[..]);
    ping.header_mut().mask = Some([9, 9, 9, 9]);
    let frames = vec![
        frame(Data::Text, false, b"x mar", true),
        ping,
        frame(Data::Continue, false, b"k", true),
        frame(Data::Continue, true, b"er y", true),
    ];
    let out = pass(Sender::Client, &wire(frames), 3).unwrap();
    let got = messages(Sender::Client, &out);
    assert_eq!(
        got,
        [
            Message::Ping(b"hello"[..].into()),
            Message::text("x a-secret y")
        ]
    );
}

#[test]
fn a_marker_is_not_found_across_messages() {
    let frames = vec![
        frame(Data::Text, true, b"mar", false),
        frame(Data::Text, true, b"ker", false),
    ];
    let out = pass(Sender::Server, &wire(frames), 1000).unwrap();
    assert_eq!(
        messages(Sender::Server, &out),
        [Message::text("mar"), Message::text("ker")]
    );
}

#[test]
fn long_frames_go_on_in_parts_and_are_the_same_in_the_end() {
    let payload: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let bytes = wire(vec![frame(Data::Binary, true, &payload, true)]);
    let mut frames = Frames::new(Sender::Client, swap);
    let mut out = Vec::new();
    frames.feed(&bytes[..100_000], &mut out).unwrap();
    assert!(out.len() > 90_000, "held back");
    for chunk in bytes[100_000..].chunks(7_777) {
        frames.feed(chunk, &mut out).unwrap();
    }
    assert_eq!(messages(Sender::Client, &out), [Message::binary(payload)]);
}

#[test]
fn a_closing_text_is_rewritten_within_its_bounds() {
    let reason = format!("marker {}", "é".repeat(56));
    let close = Frame::close(Some(CloseFrame {
        code: CloseCode::Normal,
        reason: reason.into(),
    }));
    let out = pass(Sender::Server, &wire(vec![close]), 1000).unwrap();
    let [Message::Close(Some(got))] = &messages(Sender::Server, &out)[..] else {
        panic!("no close frame")
    };
    assert!(got.reason.starts_with("a-secret é") && got.reason.len() <= 123);
}

#[test]
fn what_breaks_the_rules_ends_it() {
    let masked = |frame: Frame| pass(Sender::Client, &wire(vec![frame]), 1000).unwrap_err();
    assert_eq!(
        masked(frame(Data::Text, true, b"x", false)),
        FrameError::Mask
    );
    assert_eq!(
        masked(frame(Data::Continue, true, b"x", true)),
        FrameError::Order
    );
    let mut compressed = frame(Data::Text, true, b"x", true);
    compressed.header_mut().rsv1 = true;
    assert_eq!(masked(compressed), FrameError::Reserved);
    let mut long = frame(Data::Text, true, &[0; 126], true);
    long.header_mut().opcode = OpCode::Control(Control::Ping);
    assert_eq!(masked(long), FrameError::Control);
    let nested = vec![
        frame(Data::Text, false, b"x", true),
        frame(Data::Text, true, b"x", true),
    ];
    assert_eq!(
        pass(Sender::Client, &wire(nested), 1000),
        Err(FrameError::Order)
    );
    assert_eq!(pass(Sender::Server, &[0x83, 0], 1), Err(FrameError::Opcode));
    assert_eq!(
        pass(Sender::Server, &[0x82, 127, 255, 0, 0, 0, 0, 0, 0, 0], 1),
        Err(FrameError::Length)
    );
}

/// A message's bytes, and whether they are all of it.
type Part = (Vec<u8>, bool);

/// The control frames and the messages, the last one maybe incomplete: a long frame may go on in any parts.
fn content(bytes: &[u8]) -> (Vec<Vec<u8>>, Vec<Part>) {
    let (mut controls, mut messages) = (Vec::new(), Vec::<Part>::new());
    let mut cursor = io::Cursor::new(bytes);
    while let Some((header, length)) = FrameHeader::parse(&mut cursor).unwrap() {
        let start = cursor.position() as usize;
        let payload = &bytes[start..start + length as usize];
        cursor.set_position(cursor.position() + length);
        match header.opcode {
            OpCode::Control(_) => controls.push(payload.to_vec()),
            OpCode::Data(Data::Continue) => {
                let open = messages.last_mut().unwrap();
                open.0.extend_from_slice(payload);
                open.1 = header.is_final;
            }
            OpCode::Data(_) => messages.push((payload.to_vec(), header.is_final)),
        }
    }
    (controls, messages)
}

#[test]
fn any_bytes_in_any_chunks_give_the_same() {
    bolero::check!()
        .with_test_time(std::time::Duration::from_secs(1))
        .with_type::<(Vec<u8>, u8)>()
        .for_each(|(bytes, step)| {
            let parts =
                pass(Sender::Server, bytes, usize::from(*step).max(1)).map(|out| content(&out));
            let whole = pass(Sender::Server, bytes, bytes.len().max(1)).map(|out| content(&out));
            assert_eq!(parts, whole);
        });
}

#[test]
fn a_handshake_is_known_by_all_of_its_parts() {
    let wants = |pairs: &[(&str, &str)]| {
        let mut builder = http::Request::builder().uri("/");
        for (name, value) in pairs {
            builder = builder.header(*name, *value);
        }
        wanted(&builder.body(()).unwrap().into_parts().0)
    };
    let (key, up) = (
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("upgrade", "WebSocket"),
    );
    assert!(wants(&[key, up, ("connection", "keep-alive, Upgrade")]));
    assert!(!wants(&[
        key,
        ("upgrade", "h2c"),
        ("connection", "Upgrade")
    ]));
    assert!(!wants(&[up, ("connection", "Upgrade")]));
    assert!(!wants(&[key, up, ("connection", "keep-alive")]));
}
