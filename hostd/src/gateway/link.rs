//! [`Link`]: the process in the guest that carries out a client's procedures.
//!
//! Frames on its standard input and output: a message's length (big-endian, 32 bits) and the message.

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use protocol::MAX_CHUNK_BYTES;
use protocol::types::v1::process_input::Input;
use protocol::types::v1::process_output::Output;
use protocol::types::v1::{ProcessInput, ProcessOutput, ProcessSpec, StreamMode};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::codec::{Decoder as _, LengthDelimitedCodec};
use tonic::Streaming;

use crate::agent::agent_error;
use crate::error::{Error, Result};
use crate::sandbox::Sandbox;

/// The longest message in bytes, in either direction.
pub(super) const MAX_MESSAGE: usize = 64 << 20;
/// Chunks on their way to the guest.
const QUEUE: usize = 4;
/// The agent itself, which is there whatever the sandbox's disk holds.
const PROGRAM: &str = "/proc/self/exe";

/// Where messages to the guest go.
pub(super) struct Sender(mpsc::Sender<ProcessInput>);

/// Where messages from the guest come from.
pub(super) struct Receiver {
    outputs: Streaming<ProcessOutput>,
    codec: LengthDelimitedCodec,
    bytes: BytesMut,
}

/// Begins one. It ends when the sender is dropped.
pub(super) async fn begin(sandbox: &Sandbox) -> Result<(Sender, Receiver)> {
    let start = ProcessSpec {
        program: PROGRAM.into(),
        args: vec!["rpc".into()],
        stdin: true,
        stdout: StreamMode::Piped.into(),
        stderr: StreamMode::Null.into(),
        kill_on_disconnect: true,
        ..ProcessSpec::default()
    };
    let (sender, inputs) = mpsc::channel(QUEUE);
    let opening = stream::iter([input(Input::Start(start))]);
    let requests = opening.chain(ReceiverStream::new(inputs));
    let mut processes = sandbox.agent().await?.processes();
    let outputs = processes.exec(requests).await.map_err(agent_error)?;
    let receiver = Receiver {
        outputs: outputs.into_inner(),
        codec: LengthDelimitedCodec::builder()
            .max_frame_length(MAX_MESSAGE)
            .new_codec(),
        bytes: BytesMut::new(),
    };
    Ok((Sender(sender), receiver))
}

fn input(input: Input) -> ProcessInput {
    ProcessInput { input: Some(input) }
}

impl Sender {
    /// Passes a message on, which has at most [`MAX_MESSAGE`] bytes. False when the guest takes no more.
    pub(super) async fn send(&self, message: Bytes) -> bool {
        let Ok(length) = u32::try_from(message.len()) else {
            return false;
        };
        let mut first = BytesMut::with_capacity(4);
        first.put_u32(length);
        let chunks = message.chunks(MAX_CHUNK_BYTES);
        for chunk in std::iter::once(&first[..]).chain(chunks) {
            let chunk = input(Input::Stdin(chunk.to_vec().into()));
            if self.0.send(chunk).await.is_err() {
                return false;
            }
        }
        true
    }
}

impl Receiver {
    /// The next message; nothing when the process has ended.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let decoded = self.codec.decode(&mut self.bytes);
            let decoded = decoded.map_err(|error| Error::AgentProtocol(error.to_string()))?;
            if let Some(message) = decoded {
                return Ok(Some(message.freeze()));
            }
            let output = self.outputs.message().await.map_err(agent_error)?;
            match output.and_then(|output| output.output) {
                Some(Output::Stdout(bytes)) => self.bytes.extend_from_slice(&bytes),
                Some(Output::Started(_) | Output::Stderr(_)) => {}
                Some(Output::Exited(_)) | None => return Ok(None),
            }
        }
    }
}
