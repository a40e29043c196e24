//! WebSocket frames of one direction, with their payloads rewritten as they pass (RFC 6455, section 5).
//!
//! ```text
//!  bytes ──▶ header ──▶ payload, unmasked ──▶ transform of the message ──▶ new header, new mask ──▶ bytes
//! ```
//!
//! A rewritten payload has another length, so each frame gets a header of its own. A frame of up to
//! [`WHOLE_FRAME`] bytes stays one frame; a longer one is passed on in fragments as it comes, which section
//! 5.4 allows to who knows that no extension was agreed upon: the handshake sees to that.

use std::io::Cursor;

use bytes::{Buf, Bytes, BytesMut};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::rewrite::Transform;

/// Frames of up to so many bytes of payload are gathered, so that short messages keep their shape.
const WHOLE_FRAME: u64 = 64 << 10;
/// The longest header: two bytes, eight of length, four of mask.
const MAX_HEADER: usize = 14;
/// RFC 6455, section 5.5.
const MAX_CONTROL: u64 = 125;

/// Why a stream of frames cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// A reserved opcode.
    #[error("a frame of an unknown kind")]
    Opcode,
    /// A reserved bit without an extension.
    #[error("a frame of an extension that was not agreed upon")]
    Reserved,
    /// A client's frame without a mask, or a server's with one.
    #[error("a frame that is masked when it must not be, or the other way round")]
    Mask,
    /// A control frame that is too long or in fragments.
    #[error("a control frame that is too long or in fragments")]
    Control,
    /// A continuation of nothing, or a message inside of another.
    #[error("fragments out of order")]
    Order,
    /// A payload of 2^63 bytes or more.
    #[error("a frame of an impossible length")]
    Length,
    /// No entropy for a mask.
    #[error("no entropy for a mask")]
    Entropy,
}

/// Who sends the frames: clients mask theirs, servers do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    /// The guest.
    Client,
    /// The upstream.
    Server,
}

/// One direction's frames on their way; `M` makes a transform for each message (text or not).
pub(crate) struct Frames<M, T> {
    sender: Sender,
    make: M,
    input: BytesMut,
    frame: Option<Frame>,
    message: Option<Message<T>>,
}

/// The frame whose payload is being read.
struct Frame {
    opcode: OpCode,
    last: bool,
    mask: Option<[u8; 4]>,
    left: u64,
}

/// The message whose fragments are being read.
struct Message<T> {
    /// What the next fragment is called: the message's kind first, a continuation then.
    opcode: OpCode,
    transform: T,
}

impl<M: FnMut(bool) -> T, T: Transform> Frames<M, T> {
    /// Frames that `sender` sends.
    pub(crate) fn new(sender: Sender, make: M) -> Self {
        Self {
            sender,
            make,
            input: BytesMut::new(),
            frame: None,
            message: None,
        }
    }

    /// Takes what came and appends to `output` what can go on. After an error nothing more may come.
    pub(crate) fn feed(&mut self, bytes: &[u8], output: &mut Vec<u8>) -> Result<(), FrameError> {
        self.input.extend_from_slice(bytes);
        loop {
            let more = match self.frame.take() {
                None => self.header()?,
                Some(frame) => self.payload(frame, output)?,
            };
            if !more {
                return Ok(());
            }
        }
    }

    /// Reads a header; says whether there was one.
    fn header(&mut self) -> Result<bool, FrameError> {
        let head = self.input.get(..MAX_HEADER).unwrap_or(&self.input);
        let mut cursor = Cursor::new(head);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|_| FrameError::Opcode)?;
        let Some((header, length)) = parsed else {
            return Ok(false);
        };
        let taken = usize::try_from(cursor.position()).unwrap_or(MAX_HEADER);
        self.check(&header, length)?;
        self.input.advance(taken.min(self.input.len()));
        self.frame = Some(Frame {
            opcode: header.opcode,
            last: header.is_final,
            mask: header.mask,
            left: length,
        });
        Ok(true)
    }

    fn check(&mut self, header: &FrameHeader, length: u64) -> Result<(), FrameError> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(FrameError::Reserved);
        }
        if header.mask.is_some() != (self.sender == Sender::Client) {
            return Err(FrameError::Mask);
        }
        if length >> 63 != 0 {
            return Err(FrameError::Length);
        }
        match header.opcode {
            OpCode::Control(_) if !header.is_final || length > MAX_CONTROL => {
                Err(FrameError::Control)
            }
            OpCode::Control(_) => Ok(()),
            OpCode::Data(kind) => self.check_order(kind),
        }
    }

    /// Opens a message, or sees that a continuation has one.
    fn check_order(&mut self, kind: Data) -> Result<(), FrameError> {
        if (kind == Data::Continue) != self.message.is_some() {
            return Err(FrameError::Order);
        }
        if kind != Data::Continue {
            let transform = (self.make)(kind == Data::Text);
            self.message = Some(Message {
                opcode: OpCode::Data(kind),
                transform,
            });
        }
        Ok(())
    }

    /// Passes on what is there of a frame's payload; says whether the frame is complete.
    fn payload(&mut self, mut frame: Frame, output: &mut Vec<u8>) -> Result<bool, FrameError> {
        let there = (self.input.len() as u64).min(frame.left);
        let whole = there == frame.left;
        if !whole && (frame.left <= WHOLE_FRAME || there == 0) {
            self.frame = Some(frame);
            return Ok(false);
        }
        let mut chunk = self
            .input
            .split_to(usize::try_from(there).unwrap_or(self.input.len()));
        frame.unmask(&mut chunk);
        frame.left -= there;
        if let OpCode::Control(kind) = frame.opcode {
            let payload = self.control(kind, &chunk);
            self.emit(frame.opcode, true, &payload, output)?;
        } else {
            self.data(&chunk, whole && frame.last, output)?;
        }
        if !whole {
            self.frame = Some(frame);
        }
        Ok(whole)
    }

    /// Rewrites a part of the open message and closes it after the last one.
    fn data(&mut self, chunk: &[u8], last: bool, output: &mut Vec<u8>) -> Result<(), FrameError> {
        let Some(mut message) = self.message.take() else {
            return Err(FrameError::Order);
        };
        let mut payload = message.transform.feed(Bytes::copy_from_slice(chunk));
        if last {
            let rest = message.transform.finish();
            if !rest.is_empty() {
                payload = join(&payload, &rest);
            }
        }
        if last || !payload.is_empty() {
            self.emit(message.opcode, last, &payload, output)?;
            message.opcode = OpCode::Data(Data::Continue);
        }
        if !last {
            self.message = Some(message);
        }
        Ok(())
    }

    /// A control frame's payload is rewritten like a text of its own and cut to what such a frame may hold.
    fn control(&mut self, kind: Control, payload: &[u8]) -> Vec<u8> {
        // A close frame begins with its code.
        let (code, text) = payload.split_at(if kind == Control::Close {
            payload.len().min(2)
        } else {
            0
        });
        let mut transform = (self.make)(true);
        let rewritten = join(
            &transform.feed(Bytes::copy_from_slice(text)),
            &transform.finish(),
        );
        let room = MAX_CONTROL as usize - code.len();
        [code, cut(&rewritten, room)].concat()
    }

    fn emit(
        &self,
        opcode: OpCode,
        last: bool,
        payload: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        let mask = match self.sender {
            Sender::Server => None,
            Sender::Client => Some(fresh_mask()?),
        };
        let header = FrameHeader {
            is_final: last,
            opcode,
            mask,
            ..FrameHeader::default()
        };
        // Writing to a vector cannot fail.
        header
            .format(payload.len() as u64, output)
            .map_err(|_| FrameError::Length)?;
        let start = output.len();
        output.extend_from_slice(payload);
        if let (Some(mask), Some(body)) = (mask, output.get_mut(start..)) {
            apply(mask, body);
        }
        Ok(())
    }
}

impl Frame {
    /// Unmasks a chunk and turns the mask to where the next one begins.
    fn unmask(&mut self, chunk: &mut [u8]) {
        if let Some(mask) = &mut self.mask {
            apply(*mask, chunk);
            mask.rotate_left(chunk.len() % 4);
        }
    }
}

fn apply(mask: [u8; 4], bytes: &mut [u8]) {
    for (byte, key) in bytes.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

fn fresh_mask() -> Result<[u8; 4], FrameError> {
    let mut mask = [0; 4];
    getrandom::fill(&mut mask).map_err(|_| FrameError::Entropy)?;
    Ok(mask)
}

fn join(first: &[u8], second: &[u8]) -> Bytes {
    [first, second].concat().into()
}

/// At most `room` bytes, not in the middle of a character.
fn cut(text: &[u8], room: usize) -> &[u8] {
    let mut end = text.len().min(room);
    while end > 0 && end < text.len() && text.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
        end -= 1;
    }
    text.get(..end).unwrap_or(text)
}
