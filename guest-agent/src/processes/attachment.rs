//! A client's stream on a process: what `Exec` answers.

use std::sync::Arc;

use futures::Stream;
use protocol::types::v1::{
    ExitStatus, ProcessInput, ProcessOutput, Started, process_output::Output,
};
use tokio::task::JoinHandle;
use tonic::{Code, Status, Streaming};

use super::input;
use super::outlet::{Seat, Source, Taken};
use super::process::Process;
use super::signal::Signal;
use super::table::Table;
use crate::status::{refused, task_lost};

/// One client on one process. Dropping it detaches.
pub(super) struct Attachment {
    process: Arc<Process>,
    table: Arc<Table>,
    seat: Seat,
    /// This stream started the process.
    started_here: bool,
    /// Reads the client's messages, while there may be any.
    input: Option<JoinHandle<Result<(), Status>>>,
    announced: bool,
    /// The last message or error has been given out.
    finished: bool,
}

impl Attachment {
    /// Takes the process's output over.
    pub(super) fn new(process: Arc<Process>, table: Arc<Table>, started_here: bool) -> Self {
        let seat = process.outlet.attach();
        Self {
            process,
            table,
            seat,
            started_here,
            input: None,
            announced: false,
            finished: false,
        }
    }

    /// From now on obeys the client's further messages.
    pub(super) fn listen(&mut self, messages: Streaming<ProcessInput>) {
        let token = self.seat.taken_over.clone();
        let feed = input::feed(self.process.clone(), messages, self.started_here, token);
        self.input = Some(tokio::spawn(feed));
    }

    /// Everything for the client, in order.
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<ProcessOutput, Status>> + Send {
        futures::stream::unfold(self, |mut attachment| async {
            let item = attachment.next().await?;
            Some((item, attachment))
        })
    }

    async fn next(&mut self) -> Option<Result<ProcessOutput, Status>> {
        if self.finished {
            return None;
        }
        if !self.announced {
            self.announced = true;
            return Some(Ok(message(Output::Started(self.started()))));
        }
        match self.next_output().await {
            Ok(output) => {
                self.finished = matches!(output, Output::Exited(_));
                Some(Ok(message(output)))
            }
            Err(status) => {
                // For the process this is a stream that broke.
                self.leave();
                self.finished = true;
                Some(Err(status))
            }
        }
    }

    fn started(&self) -> Started {
        Started {
            pid: self.process.number(),
            stdout_dropped: self.seat.stdout_dropped,
            stderr_dropped: self.seat.stderr_dropped,
        }
    }

    async fn next_output(&mut self) -> Result<Output, Status> {
        let process = self.process.clone();
        loop {
            let changed = process.outlet.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match process.outlet.take(self.seat.serial) {
                Taken::Data(Source::Stdout, data) => return Ok(Output::Stdout(data)),
                Taken::Data(Source::Stderr, data) => return Ok(Output::Stderr(data)),
                Taken::Displaced => {
                    let message = "another stream has attached to the process";
                    return Err(refused(Code::Aborted, "TAKEN_OVER", message));
                }
                Taken::End => {
                    if let Some(exit) = process.exit() {
                        return Ok(Output::Exited(ExitStatus::from(exit)));
                    }
                }
                Taken::Nothing => {}
            }
            tokio::select! {
                () = changed => {}
                status = failure_of(&mut self.input) => return Err(status),
            }
        }
    }

    /// Gives the seat up. When the stream that started the process breaks, the process may be meant to go too.
    fn leave(&mut self) {
        if let Some(input) = self.input.take() {
            input.abort();
        }
        let held_seat = self.process.outlet.detach(self.seat.serial);
        let kill = self.started_here && self.process.description.kill_on_disconnect;
        if held_seat && !self.finished && kill {
            let _ = self.process.signal(Signal::KILL);
        }
        if held_seat && self.process.exit().is_some() {
            self.table.trim();
        }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Ready only when reading the client's messages has failed.
async fn failure_of(input: &mut Option<JoinHandle<Result<(), Status>>>) -> Status {
    if let Some(task) = input {
        let result = task.await;
        *input = None;
        match result {
            Ok(Ok(())) => {}
            Ok(Err(status)) => return status,
            Err(_) => return task_lost(),
        }
    }
    std::future::pending().await
}

fn message(output: Output) -> ProcessOutput {
    ProcessOutput {
        output: Some(output),
    }
}
