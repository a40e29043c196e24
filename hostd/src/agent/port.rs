//! [`Connection`]: one to a TCP port of the sandbox, by way of its agent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use protocol::MAX_CHUNK_BYTES;
use protocol::agent::v1::dial_input::Input;
use protocol::agent::v1::{DialInput, DialTarget, dial_target};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::StreamReader;
use tokio_util::sync::PollSender;

use super::{Agent, agent_error};
use crate::error::Result;

/// Pieces on their way to the guest.
const QUEUE: usize = 2;

/// Bytes from and to whoever listens on a port in the sandbox.
pub struct Connection {
    reader: StreamReader<BoxStream<'static, io::Result<Bytes>>, Bytes>,
    writer: PollSender<DialInput>,
}

impl Connection {
    /// Connects to what the sandbox exposed under this name.
    ///
    /// # Errors
    /// The sandbox knows no such name, or nobody listens.
    pub async fn exposed(agent: &Agent, name: String) -> Result<Self> {
        let target = dial_target::Target::Exposed(name);
        let (sender, inputs) = mpsc::channel(QUEUE);
        let opening = input(Input::Target(DialTarget {
            target: Some(target),
        }));
        let requests = stream::iter([opening]).chain(ReceiverStream::new(inputs));
        let outputs = agent.ports().dial(requests).await.map_err(agent_error)?;
        let pieces = outputs.into_inner().map(|output| match output {
            Ok(output) => Ok(output.data),
            Err(status) => Err(io::Error::new(
                io::ErrorKind::ConnectionReset,
                status.message().to_owned(),
            )),
        });
        Ok(Self {
            reader: StreamReader::new(pieces.boxed()),
            writer: PollSender::new(sender),
        })
    }
}

fn input(input: Input) -> DialInput {
    DialInput { input: Some(input) }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        ready!(self.writer.poll_reserve(cx)).map_err(gone)?;
        let length = bytes.len().min(MAX_CHUNK_BYTES);
        let data = input(Input::Data(Bytes::copy_from_slice(&bytes[..length])));
        self.writer.send_item(data).map_err(gone)?;
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.close();
        Poll::Ready(Ok(()))
    }
}
