//! Processes: streams, terminals, signals, exit statuses, limits.
#![allow(missing_docs)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use protocol::hostd::v1::{InfoRequest, ListProcessesRequest, SignalRequest, WaitRequest};
use protocol::types::v1::process_output::Output as Message;
use protocol::types::v1::{ProcessSpec, PtySize};
use sha2::{Digest, Sha256};
use tests::process::{Process, program, shell};
use tests::refusal::{code_of, errno};
use tests::{Host, Result, Sandbox, procfs, suite};
use tonic::Code;

suite!(
    exit_statuses_are_told_apart,
    sixty_four_mib_through_stdin,
    a_program_that_does_not_read_stops_its_writer,
    sixty_four_mib_read_slowly,
    a_terminal_follows_its_size,
    a_terminal_is_one,
    fifty_at_once,
    signals_reach_the_group,
    a_timeout_kills_the_group,
    stderr_is_its_own_stream,
    environment_directory_and_user,
    spawn_wait_list_signal,
    a_second_attach_takes_over,
    a_broken_stream_kills_when_asked,
    what_cannot_start,
);

/// Bytes of the large transfers.
const LARGE: usize = 64 << 20;
/// What agent, vmm and hostd may grow by while a transfer stands still: queues and windows.
const GROWTH: u64 = 24 << 20;

async fn exit_statuses_are_told_apart(host: Arc<Host>) -> Result {
    let sandbox = host.create().await?;
    for (line, code) in [
        ("true", 0),
        ("false", 1),
        ("exit 42", 42),
        ("no-such-program", 127),
    ] {
        let output = sandbox.shell(line).await?;
        ensure!(output.code() == Some(code), "{line}: {:?}", output.status);
    }
    for signal in [9, 15, 11] {
        let output = sandbox.shell(&format!("kill -{signal} $$")).await?;
        ensure!(
            output.signal() == Some(signal),
            "{signal}: {:?}",
            output.status
        );
    }
    // A shell's 137 is a number, a death by SIGKILL is not.
    ensure!(sandbox.shell("exit 137").await?.code() == Some(137));
    Ok(())
}

/// Bytes that no two places share.
fn pattern() -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    });
    words.take(LARGE / 4).flatten().collect()
}

fn sha256(data: &[u8]) -> String {
    Sha256::digest(data)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

async fn sixty_four_mib_through_stdin(host: Arc<Host>) -> Result {
    let sandbox = host.create().await?;
    let data = pattern();
    let expected = sha256(&data);
    let spec = ProcessSpec {
        stdin: true,
        ..program(["sha256sum"])
    };
    let before = Memory::of(&host, &sandbox).await?;
    let process = sandbox.start(spec).await?;
    for (number, chunk) in data.chunks(256 << 10).enumerate() {
        process.write(chunk.to_vec()).await?;
        if number % 64 == 63 {
            Memory::of(&host, &sandbox).await?.is_near(&before)?;
        }
    }
    process.close_stdin().await?;
    let text = process.output().await?.text()?;
    ensure!(text.starts_with(&expected), "{text} instead of {expected}");
    Ok(())
}

async fn a_program_that_does_not_read_stops_its_writer(host: Arc<Host>) -> Result {
    let sandbox = host.create().await?;
    let spec = ProcessSpec {
        stdin: true,
        ..program(["sleep", "600"])
    };
    let before = Memory::of(&host, &sandbox).await?;
    let process = sandbox.start(spec).await?;
    let writing = async {
        for chunk in pattern().chunks(256 << 10) {
            process.write(chunk.to_vec()).await?;
        }
        Result::<()>::Ok(())
    };
    let all = tokio::time::timeout(Duration::from_secs(10), writing).await;
    ensure!(
        all.is_err(),
        "{LARGE} bytes went to a program that reads none"
    );
    Memory::of(&host, &sandbox).await?.is_near(&before)
}

async fn sixty_four_mib_read_slowly(host: Arc<Host>) -> Result {
    let sandbox = host.create().await?;
    let line = format!("seq 1 20000000 | head -c {LARGE}");
    let clients = host.connect().await?;
    let before = Memory::of(&host, &sandbox).await?;
    let first = protocol::types::v1::process_input::Input::Start(shell(&line));
    let mut process = Process::open(&clients, sandbox.id(), first).await?;
    let mut digest = Sha256::new();
    let (mut total, mut pauses) = (0, 0);
    loop {
        match process.next().await?.context("the stream ended")? {
            Message::Stdout(data) => {
                digest.update(&data);
                total += data.len();
            }
            Message::Exited(_) => break,
            other => ensure!(matches!(other, Message::Started(_)), "{other:?}"),
        }
        // Five times the reader stands still, and everything behind it has to, too.
        if total >= pauses * LARGE / 5 {
            pauses += 1;
            tokio::time::sleep(Duration::from_secs(2)).await;
            Memory::of(&host, &sandbox).await?.is_near(&before)?;
        }
    }
    let found: String = digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    ensure!(
        total == LARGE && found == sha256(&numbers()),
        "{total} bytes, {found}"
    );
    Ok(())
}

/// What `seq 1 20000000 | head -c LARGE` prints.
fn numbers() -> Vec<u8> {
    let mut text = Vec::with_capacity(LARGE + 16);
    for number in 1.. {
        text.extend_from_slice(format!("{number}\n").as_bytes());
        if text.len() >= LARGE {
            break;
        }
    }
    text.truncate(LARGE);
    text
}

/// Memory of those who carry the streams, in bytes.
#[derive(Debug)]
struct Memory {
    agent: u64,
    vmm: u64,
    hostd: u64,
}

impl Memory {
    async fn of(host: &Host, sandbox: &Sandbox) -> Result<Self> {
        let stats = sandbox.stats().await?;
        let hostd = procfs::pss(host.pid()).context("no PSS of hostd")?;
        let info = host
            .clients()
            .host()
            .info(InfoRequest {})
            .await?
            .into_inner();
        ensure!(info.hostd_pss_bytes > 0 && stats.agent_pss_bytes > 0 && stats.vmm_pss_bytes > 0);
        Ok(Self {
            agent: stats.agent_pss_bytes,
            vmm: stats.vmm_pss_bytes,
            hostd,
        })
    }

    fn is_near(&self, before: &Self) -> Result {
        let near = |now: u64, before: u64| now < before + GROWTH;
        let all = near(self.agent, before.agent)
            && near(self.vmm, before.vmm)
            && near(self.hostd, before.hostd);
        ensure!(all, "from {before:?} to {self:?}");
        Ok(())
    }
}

async fn a_terminal_follows_its_size(host: Arc<Host>) -> Result {
    let sandbox = host.create().await?;
    let spec = in_terminal("stty size; read line; stty size");
    let mut process = sandbox.start(spec).await?;
    process.read_until("24 80").await?;
    process.resize(50, 132).await?;
    process.write("\n").await?;
    process.read_until("50 132").await?;
    ensure!(process.output().await?.code() == Some(0));
    Ok(())
}

fn in_terminal(line: &str) -> ProcessSpec {
    ProcessSpec {
        pty: Some(PtySize { rows: 24, cols: 80 }),
        stdin: true,
        ..shell(line)
    }
}

async fn a_terminal_is_one(host: Arc<Host>) -> Result {
    let sandbox = host.create().await?;
    let mut process = sandbox
        .start(in_terminal("test -t 0 && test -t 1 && tty; cat"))
        .await?;
    process.read_until("/dev/pts/").await?;
    process.write("typed\n").await?;
    // The terminal's echo, then cat's own: a Ctrl-C that meets a shell about to become cat is lost.
    process.read_until("typed\r\ntyped").await?;
    // Ctrl-C is a byte that the terminal turns into a signal.
    process.write(vec![3]).await?;
    ensure!(process.output().await?.signal() == Some(2));
    Ok(())
}

async fn fifty_at_once(host: Arc<Host>) -> Result {
    let sandbox = host.create().await?;
    let spec = ProcessSpec {
        stdin: true,
        ..program(["cat"])
    };
    let started = (0..50).map(|_| sandbox.start(spec.clone()));
    let processes = try_join_all(started).await?;
    // All fifty run now; each gets words of its own.
    let talks = processes
        .into_iter()
        .enumerate()
        .map(async |(number, process)| {
            process.write(format!("I am {number}")).await?;
            process.close_stdin().await?;
            let text = process.output().await?.text()?;
            ensure!(text == format!("I am {number}"), "{number} said {text}");
            anyhow::Ok(())
        });
    try_join_all(talks).await.map(drop)
}

async fn signals_reach_the_group(host: Arc<Host>) -> Result {
    let sandbox = host.create().await?;
    let line = "trap 'echo caught; exit 3' USR1; echo ready; while :; do sleep 0.1; done";
    let mut process = sandbox.start(shell(line)).await?;
    process.read_until("ready").await?;
    process.signal(10).await?;
    let output = process.output().await?;
    ensure!(
        output.code() == Some(3) && output.stdout.starts_with(b"caught"),
        "{output:?}"
    );

    let mut process = sandbox
        .start(shell("sleep 1000 & echo ready; wait"))
        .await?;
    process.read_until("ready").await?;
    process.signal(15).await?;
    ensure!(process.output().await?.signal() == Some(15));
    ensure!(sandbox.says("pgrep -c sleep || true").await? == "0");
    Ok(())
}

async fn a_timeout_kills_the_group(host: Arc<Host>) -> Result {
    let sandbox = host.create().await?;
    let spec = ProcessSpec {
        timeout: Some(prost_types::Duration {
            seconds: 1,
            nanos: 0,
        }),
        ..shell("sleep 1000 & sleep 1000")
    };
    let output = sandbox.start(spec).await?.output().await?;
    ensure!(output.status.timed_out, "{:?}", output.status);
    ensure!(sandbox.says("pgrep -c sleep || true").await? == "0");
    Ok(())
}

async fn stderr_is_its_own_stream(host: Arc<Host>) -> Result {
    let sandbox = host.create().await?;
    let output = sandbox.shell("echo out; echo err >&2; exit 7").await?;
    ensure!(
        output.stdout == b"out\n" && output.stderr == b"err\n",
        "{output:?}"
    );
    ensure!(output.code() == Some(7));
    Ok(())
}

async fn environment_directory_and_user(host: Arc<Host>) -> Result {
    let sandbox = host.create().await?;
    let spec = ProcessSpec {
        env: HashMap::from([("A".to_owned(), "b c".to_owned())]),
        cwd: "/usr".to_owned(),
        user: "nobody".to_owned(),
        ..shell("echo \"$A\"; pwd; id -un")
    };
    let text = sandbox.start(spec).await?.output().await?.text()?;
    ensure!(text == "b c\n/usr\nnobody", "{text}");
    let spec = ProcessSpec {
        clear_env: true,
        ..program(["/usr/bin/env"])
    };
    let text = sandbox.start(spec).await?.output().await?.text()?;
    ensure!(!text.contains("HOME="), "{text}");
    Ok(())
}

async fn spawn_wait_list_signal(host: Arc<Host>) -> Result {
    let sandbox = host.create().await?;
    let mut processes = host.clients().processes();
    let sandbox_id = sandbox.id().to_owned();
    let spawned = sandbox.spawn(program(["sleep", "1000"])).await?;
    let pid = spawned.pid;

    let request = ListProcessesRequest {
        sandbox_id: sandbox_id.clone(),
    };
    let listed = processes.list(request).await?.into_inner().processes;
    let found = listed
        .iter()
        .find(|process| process.pid == pid)
        .context("not listed")?;
    ensure!(found.program == "sleep" && found.args == ["1000"] && found.exit.is_none());

    let request = SignalRequest {
        sandbox_id: sandbox_id.clone(),
        pid,
        signal: 15,
    };
    processes.signal(request).await?;
    let request = WaitRequest {
        sandbox_id: sandbox_id.clone(),
        pid,
    };
    let ended = processes.wait(request).await?.into_inner();
    ensure!(ended.exit.is_some(), "{ended:?}");

    let request = WaitRequest {
        sandbox_id,
        pid: 4_000_000,
    };
    code_of(processes.wait(request).await, Code::NotFound).map(drop)
}

async fn a_second_attach_takes_over(host: Arc<Host>) -> Result {
    let sandbox = host.create().await?;
    let spec = ProcessSpec {
        stdin: true,
        ..program(["cat"])
    };
    let mut first = sandbox.start(spec).await?;
    let mut second = sandbox.attach(first.pid).await?;
    code_of(first.next().await, Code::Aborted)?;
    second.write("to the second").await?;
    second.read_until("to the second").await?;
    second.close_stdin().await?;
    ensure!(second.output().await?.code() == Some(0));
    Ok(())
}

async fn a_broken_stream_kills_when_asked(host: Arc<Host>) -> Result {
    let sandbox = host.create().await?;
    let spec = ProcessSpec {
        kill_on_disconnect: true,
        ..program(["sleep", "1000"])
    };
    let process = sandbox.start(spec).await?;
    let pid = process.pid;
    drop(process);
    let request = WaitRequest {
        sandbox_id: sandbox.id().to_owned(),
        pid,
    };
    let ended = host.clients().processes().wait(request).await?.into_inner();
    ensure!(ended.exit.is_some());

    let kept = sandbox.start(program(["sleep", "1000"])).await?;
    let pid = kept.pid;
    drop(kept);
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(
        sandbox
            .says(&format!("kill -0 {pid} && echo alive"))
            .await?
            == "alive"
    );
    Ok(())
}

async fn what_cannot_start(host: Arc<Host>) -> Result {
    let sandbox = host.create().await?;
    errno(sandbox.start(program(["no-such-program"])).await, "ENOENT")?;
    errno(sandbox.start(program(["/etc/passwd"])).await, "EACCES")?;
    let spec = ProcessSpec {
        cwd: "/no/such".to_owned(),
        ..program(["true"])
    };
    errno(sandbox.start(spec).await, "ENOENT")?;
    let spec = ProcessSpec {
        user: "no-such-user".to_owned(),
        ..program(["true"])
    };
    code_of(sandbox.start(spec).await, Code::InvalidArgument)?;
    code_of(
        sandbox.start(ProcessSpec::default()).await,
        Code::InvalidArgument,
    )?;
    let spec = ProcessSpec {
        args: vec![String::new(); 4097],
        ..program(["true"])
    };
    code_of(sandbox.start(spec).await, Code::InvalidArgument)?;
    let spec = ProcessSpec {
        args: vec!["a\0b".to_owned()],
        ..program(["true"])
    };
    code_of(sandbox.start(spec).await, Code::InvalidArgument).map(drop)
}
