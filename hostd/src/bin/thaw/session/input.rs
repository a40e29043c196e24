//! Standard input to the program.

use protocol::hostd::v1::ExecRequest;
use protocol::types::v1::process_input::Input;
use protocol::types::v1::{CloseStdin, ProcessInput};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc::Sender;
use tokio_util::task::AbortOnDropHandle;

/// Bytes of one message: a pipe's worth.
const CHUNK_BYTES: usize = 64 << 10;

/// Forwards standard input until its end, which the program sees too.
pub fn forward(sender: Sender<ExecRequest>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut stdin = tokio::io::stdin();
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let input = match stdin.read(&mut buffer).await {
                // What cannot be read has ended.
                Ok(0) | Err(_) => Input::CloseStdin(CloseStdin {}),
                Ok(count) => Input::Stdin(buffer.iter().take(count).copied().collect()),
            };
            let at_end = matches!(input, Input::CloseStdin(_));
            // A closed queue means that the program has ended.
            if sender.send(message(input)).await.is_err() || at_end {
                return;
            }
        }
    }))
}

/// A later message of an exec stream: the sandbox is named in the first only.
pub fn message(input: Input) -> ExecRequest {
    ExecRequest {
        sandbox_id: String::new(),
        input: Some(ProcessInput { input: Some(input) }),
    }
}
