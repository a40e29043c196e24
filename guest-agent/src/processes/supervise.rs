//! Starting a program, and the task that stays with it until it has ended and its output is complete.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::io::unix::AsyncFd;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;

use super::outlet::{Outlet, Source};
use super::process::{Description, Process, Stdin};
use super::spec::Plan;
use super::stdio::{AgentEnds, make, register};
use super::table::Table;
use super::{pump, spawn};
use crate::machine::Machine;
use crate::status::PosixError;

/// What is remembered of a program's name and of its arguments, in bytes each. All that are known have to fit
/// one answer of `List`.
const MAX_REMEMBERED_BYTES: usize = 1 << 10;

/// The agent's side of one running program.
struct Ends {
    pidfd: AsyncFd<OwnedFd>,
    stdout: Option<AsyncFd<OwnedFd>>,
    stderr: Option<AsyncFd<OwnedFd>>,
}

/// Starts a program and its supervisor. Blocks; called on a blocking thread of the runtime.
///
/// # Errors
/// RESOURCE_EXHAUSTED when too many run; a POSIX status for the call that failed.
pub(super) fn start(
    plan: Plan,
    table: &Arc<Table>,
    machine: &dyn Machine,
) -> Result<Arc<Process>, Status> {
    let permit = table.permit()?;
    let (child_ends, kept) = make(&plan)?;
    let AgentEnds {
        stdin,
        stdout,
        stderr,
        terminal,
    } = kept;
    let outlet = Outlet::new(stdout.is_some(), stderr.is_some(), table.budget());
    // Before the program exists: what can fail has failed by then.
    let register_pipe = |end: Option<OwnedFd>| {
        let registered = end.map(register).transpose();
        registered.map_err(PosixError::io("epoll_ctl", Path::new("pipe")))
    };
    let stdin = register_pipe(stdin)?.map_or(Stdin::None, Stdin::Open);
    let (stdout, stderr) = (register_pipe(stdout)?, register_pipe(stderr)?);

    let child = spawn::spawn(&plan, &child_ends, machine.cgroup())?;
    drop(child_ends);
    let description = Description {
        pid: child.pid,
        program: plan
            .program
            .chars()
            .take(MAX_REMEMBERED_BYTES / 4)
            .collect(),
        args: remembered(plan.args),
        started_at: SystemTime::now(),
        pty: terminal.is_some(),
        kill_on_disconnect: plan.kill_on_disconnect,
    };
    let process = Arc::new(Process::new(description, outlet, stdin, terminal));
    let pidfd = match register(child.pidfd) {
        Ok(pidfd) => pidfd,
        Err(error) => {
            spawn::end(child.pid);
            return Err(PosixError::io("epoll_ctl", Path::new("pidfd"))(error).into());
        }
    };
    table.insert(process.clone());
    let ends = Ends {
        pidfd,
        stdout,
        stderr,
    };
    tokio::spawn(supervise(
        process.clone(),
        table.clone(),
        ends,
        plan.timeout,
        permit,
    ));
    Ok(process)
}

/// The first arguments, as far as they are kept.
fn remembered(args: Vec<String>) -> Vec<String> {
    let mut left = MAX_REMEMBERED_BYTES;
    let fits = |arg: &String| {
        let fits = arg.len() < left;
        left -= (arg.len() + 1).min(left);
        fits
    };
    args.into_iter().take_while(fits).collect()
}

async fn supervise(
    process: Arc<Process>,
    table: Arc<Table>,
    ends: Ends,
    timeout: Option<Duration>,
    permit: OwnedSemaphorePermit,
) {
    let ended = async {
        await_end(&process, &table, &ends.pidfd, timeout).await;
        drop(permit);
    };
    let exit = || process.watch_exit();
    tokio::join!(
        ended,
        pump::run(ends.stdout, &process.outlet, Source::Stdout, exit()),
        pump::run(ends.stderr, &process.outlet, Source::Stderr, exit()),
    );
    process.release().await;
    table.trim();
}

async fn await_end(
    process: &Arc<Process>,
    table: &Table,
    pidfd: &AsyncFd<OwnedFd>,
    timeout: Option<Duration>,
) {
    if let Some(timeout) = timeout
        && tokio::time::timeout(timeout, pidfd.readable())
            .await
            .is_err()
    {
        process.time_out();
    }
    loop {
        match pidfd.readable().await {
            Ok(mut ready) if !table.reap(process) => ready.clear_ready(),
            Ok(_) => return,
            Err(error) => {
                // Only when the runtime goes down, and the agent with it.
                tracing::error!(%error, "pidfd");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_remembered_as_far_as_they_fit() {
        let arg = |length: usize| "x".repeat(length);
        let kept = |args: Vec<String>| remembered(args).len();
        assert_eq!(kept(vec![arg(10), arg(20)]), 2);
        assert_eq!(
            kept(vec![arg(10), arg(2 * MAX_REMEMBERED_BYTES), arg(1)]),
            1
        );
        assert_eq!(kept(vec![String::new(); 4096]), MAX_REMEMBERED_BYTES);
    }
}
