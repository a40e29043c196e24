//! One channel: a program in the sandbox, and its streams.

use std::collections::HashMap;

use futures::{StreamExt as _, stream};
use protocol::types::v1::process_input;
use protocol::types::v1::process_output::Output;
use protocol::types::v1::{
    ExitStatus, ProcessInput, ProcessOutput, ProcessSpec, PtySize, StreamMode, exit_status,
};
use russh::server::{Handle, Msg};
use russh::{Channel, ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::input::Input;
use super::signals;
use crate::agent::agent_error;
use crate::error::Result;
use crate::sandbox::Sandbox;

/// Messages on their way to the program.
const QUEUE: usize = 4;
/// Variables that a client may set, and how long each of them may be.
const VARIABLES: usize = 64;
const LONGEST_VARIABLE: usize = 4096;
/// RFC 4254, section 5.2.
const STDERR: u32 = 1;
/// The user's shell, as the sandbox knows it: for a command, or as a login shell.
const SHELL: &str = "shell=$(getent passwd \"$(id -u)\" 2>/dev/null | cut -d: -f7); \
    if [ $# -gt 0 ]; then exec \"${shell:-/bin/sh}\" -c \"$1\"; else exec \"${shell:-/bin/sh}\" -l; fi";
/// The agent itself, which speaks SFTP whatever the sandbox's disk holds.
const AGENT: &str = "/proc/self/exe";
const SFTP: &str = "sftp";
/// How a shell says that a program could not be started.
const NOT_STARTED: u32 = 126;

/// Waits for what is asked for, and serves it.
pub(super) async fn serve(channel: Channel<Msg>, handle: Handle, sandbox: Sandbox) {
    let id = channel.id();
    let (mut reader, writer) = channel.split();
    let Some(spec) = asked(&mut reader, &handle, id).await else {
        let _ = writer.close().await;
        return;
    };
    let status = match start(&sandbox, spec).await {
        Ok((inputs, outputs)) => {
            let input = Input::new(reader, inputs);
            let waits = watch::Sender::new(false);
            let standstill = input.standstill(waits.subscribe());
            tokio::select! {
                status = output(outputs, &writer, &waits) => status,
                // It was closed: nobody waits for the rest.
                () = input.pass() => None,
                () = standstill => {
                    tracing::debug!("a channel of SSH stood still: neither input nor output was read");
                    None
                }
            }
        }
        Err(error) => {
            let text = format!("thaw: {error}\n");
            let _ = writer.extended_data_bytes(STDERR, text).await;
            Some(exit_status::Status::Code(NOT_STARTED.cast_signed()))
        }
    };
    end(status, &writer, &handle, id).await;
}

/// What a client prepares, until it asks for a program.
async fn asked(
    reader: &mut ChannelReadHalf,
    handle: &Handle,
    id: ChannelId,
) -> Option<ProcessSpec> {
    let mut spec = ProcessSpec {
        stdin: true,
        stdout: StreamMode::Piped.into(),
        stderr: StreamMode::Piped.into(),
        kill_on_disconnect: true,
        ..ProcessSpec::default()
    };
    loop {
        let (well, reply) = match reader.wait().await? {
            ChannelMsg::RequestPty {
                want_reply,
                term,
                col_width,
                row_height,
                ..
            } => {
                spec.pty = Some(size(col_width, row_height));
                spec.env.insert("TERM".to_owned(), term);
                (true, want_reply)
            }
            ChannelMsg::WindowChange {
                col_width,
                row_height,
                ..
            } => {
                spec.pty = spec.pty.map(|_| size(col_width, row_height));
                (true, false)
            }
            ChannelMsg::SetEnv {
                want_reply,
                variable_name,
                variable_value,
            } => (
                set(&mut spec.env, variable_name, variable_value),
                want_reply,
            ),
            ChannelMsg::RequestShell { want_reply } => {
                shell(&mut spec, None);
                return started(want_reply, handle, id).await.then_some(spec);
            }
            ChannelMsg::Exec {
                want_reply,
                command,
            } => match String::from_utf8(command) {
                Ok(command) => {
                    shell(&mut spec, Some(command));
                    return started(want_reply, handle, id).await.then_some(spec);
                }
                Err(_) => (false, want_reply),
            },
            ChannelMsg::RequestSubsystem { want_reply, name } if name == SFTP => {
                spec.program = AGENT.to_owned();
                spec.args = vec![SFTP.to_owned()];
                spec.stderr = StreamMode::Null.into();
                spec.pty = None;
                return started(want_reply, handle, id).await.then_some(spec);
            }
            ChannelMsg::RequestSubsystem { want_reply, .. }
            | ChannelMsg::RequestX11 { want_reply, .. }
            | ChannelMsg::AgentForward { want_reply } => (false, want_reply),
            ChannelMsg::Close => return None,
            _ => (true, false),
        };
        if reply {
            let answered = match well {
                true => handle.channel_success(id).await,
                false => handle.channel_failure(id).await,
            };
            answered.ok()?;
        }
    }
}

async fn started(reply: bool, handle: &Handle, id: ChannelId) -> bool {
    !reply || handle.channel_success(id).await.is_ok()
}

fn shell(spec: &mut ProcessSpec, command: Option<String>) {
    spec.program = "/bin/sh".to_owned();
    spec.args = vec!["-c".to_owned(), SHELL.to_owned(), "sh".to_owned()];
    spec.args.extend(command);
}

pub(super) fn size(cols: u32, rows: u32) -> PtySize {
    let most = u32::from(u16::MAX);
    PtySize {
        rows: rows.clamp(1, most),
        cols: cols.clamp(1, most),
    }
}

fn set(variables: &mut HashMap<String, String>, name: String, value: String) -> bool {
    let fits = variables.len() < VARIABLES
        && name.len() + value.len() <= LONGEST_VARIABLE
        && !name.is_empty()
        && !name.contains(['=', '\0'])
        && !value.contains('\0');
    if fits {
        variables.insert(name, value);
    }
    fits
}

type Started = (mpsc::Sender<ProcessInput>, Streaming<ProcessOutput>);

async fn start(sandbox: &Sandbox, spec: ProcessSpec) -> Result<Started> {
    let (sender, inputs) = mpsc::channel(QUEUE);
    let opening = stream::iter([message(process_input::Input::Start(spec))]);
    let requests = opening.chain(ReceiverStream::new(inputs));
    let mut processes = sandbox.agent().await?.processes();
    let outputs = processes.exec(requests).await.map_err(agent_error)?;
    Ok((sender, outputs.into_inner()))
}

pub(super) fn message(input: process_input::Input) -> ProcessInput {
    ProcessInput { input: Some(input) }
}

/// Passes on what the program says, until it ends: how. `waits` is true while the client has to take something.
async fn output(
    mut outputs: Streaming<ProcessOutput>,
    writer: &ChannelWriteHalf<Msg>,
    waits: &watch::Sender<bool>,
) -> Option<exit_status::Status> {
    loop {
        let output = outputs.message().await.ok()??.output?;
        waits.send_replace(true);
        match output {
            Output::Stdout(bytes) => writer.data_bytes(bytes).await.ok()?,
            Output::Stderr(bytes) => writer.extended_data_bytes(STDERR, bytes).await.ok()?,
            Output::Started(_) => {}
            Output::Exited(ExitStatus { status, .. }) => return status,
        }
        waits.send_replace(false);
    }
}

async fn end(
    status: Option<exit_status::Status>,
    writer: &ChannelWriteHalf<Msg>,
    handle: &Handle,
    id: ChannelId,
) {
    let _ = writer.eof().await;
    let _ = match status {
        Some(exit_status::Status::Code(code)) => writer.exit_status(code.cast_unsigned()).await,
        Some(exit_status::Status::Signal(signal)) => {
            let name = signals::name(signal);
            let told = handle.exit_signal_request(id, name, false, String::new(), String::new());
            told.await.map_err(|()| russh::Error::SendError)
        }
        None => Ok(()),
    };
    let _ = writer.close().await;
}
