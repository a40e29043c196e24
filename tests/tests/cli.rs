//! `thaw`, from its arguments to its exit status.
#![allow(missing_docs)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::hostd::v1::{ListSandboxesRequest, SandboxState};
use serde_json::Value;
use tests::measure::eventually;
use tests::thaw::{Terminal, Thaw};
use tests::{Host, Result, suite};

suite!(
    run_passes_streams_and_status_through,
    run_takes_options,
    run_leaves_nothing,
    keep_keeps,
    large_input_and_output,
    a_closed_pipe_is_no_panic,
    interrupts_are_forwarded,
    termination_ends_the_sandbox,
    a_terminal_follows_ours,
    create_ps_exec_inspect_kill,
    pause_and_resume,
    snapshots,
    copies_go_round,
    copies_do_not_leave_their_place,
    doctor,
    logs_of_a_failed_sandbox,
    errors_say_what_to_do,
);

/// For what has to happen soon, on a slow machine.
const SOON: Duration = Duration::from_secs(30);

async fn run_passes_streams_and_status_through(host: Arc<Host>) -> Result {
    let thaw = Thaw::new(&host)?;
    for (line, status) in [
        ("exit 0", 0),
        ("exit 1", 1),
        ("exit 42", 42),
        ("no-such-program", 127),
        ("kill -9 $$", 137),
        ("kill -15 $$", 143),
    ] {
        let output = thaw.output(&["run", "--", "sh", "-c", line]).await?;
        ensure!(output.code == Some(status), "{line}: {output:?}");
    }
    let output = thaw
        .output(&["run", "--", "sh", "-c", "echo out; echo err >&2"])
        .await?;
    ensure!(
        output.stdout == "out\n" && output.stderr == "err\n",
        "{output:?}"
    );
    let output = thaw.output(&["run", "no-such-program"]).await?;
    ensure!(
        output.code == Some(127) && output.stderr.lines().count() == 1,
        "{output:?}"
    );
    ensure!(thaw.output(&["run", "/etc/passwd"]).await?.code == Some(126));
    let output = thaw
        .output(&["run", "--timeout", "1s", "sleep", "100"])
        .await?;
    ensure!(output.code == Some(124), "{output:?}");
    let output = thaw
        .output(&["run", "--snapshot", "no-such", "true"])
        .await?;
    ensure!(output.code == Some(125), "{output:?}");
    Ok(())
}

async fn run_takes_options(host: Arc<Host>) -> Result {
    let thaw = Thaw::new(&host)?;
    let options = [
        "run",
        "-e",
        "A=b c",
        "--user",
        "nobody",
        "--cwd",
        "/usr",
        "--hostname",
        "h",
    ];
    let words = ["--", "sh", "-c", "echo $A; id -un; pwd; hostname"];
    let output = thaw.output(&[&options[..], &words[..]].concat()).await?;
    ensure!(output.stdout == "b c\nnobody\n/usr\nh\n", "{output:?}");
    let output = thaw.with_input(&["run", "cat"], b"from here").await?;
    ensure!(output.stdout == "from here", "{output:?}");
    let output = thaw.with_input(&["run", "-n", "cat"], b"not read").await?;
    ensure!(
        output.stdout.is_empty() && output.code == Some(0),
        "{output:?}"
    );
    Ok(())
}

async fn live(host: &Host) -> Result<Vec<String>> {
    let request = ListSandboxesRequest::default();
    let list = host.clients().sandboxes().list(request).await?.into_inner();
    Ok(list
        .sandboxes
        .into_iter()
        .map(|sandbox| sandbox.id)
        .collect())
}

async fn run_leaves_nothing(host: Arc<Host>) -> Result {
    Thaw::new(&host)?.output(&["run", "false"]).await?;
    ensure!(live(&host).await?.is_empty());
    Ok(())
}

async fn keep_keeps(host: Arc<Host>) -> Result {
    let thaw = Thaw::new(&host)?;
    let output = thaw.output(&["run", "--keep", "-l", "a=b", "true"]).await?;
    let left = live(&host).await?;
    let id = left.first().context("not kept")?;
    ensure!(output.stderr.contains(id.as_str()), "{output:?}");
    ensure!(thaw.says(&["exec", id, "echo", "hi"]).await? == "hi");
    Ok(())
}

async fn large_input_and_output(host: Arc<Host>) -> Result {
    let data: Vec<u8> = (0..16_u32 << 20).map(|n| (n ^ (n >> 11)) as u8).collect();
    let thaw = Thaw::new(&host)?;
    let output = thaw
        .with_input(
            &[
                "run",
                "--",
                "sh",
                "-c",
                "tee /root/x | sha256sum; cat /root/x | wc -c",
            ],
            &data,
        )
        .await?;
    let digest = <sha2::Sha256 as sha2::Digest>::digest(&data);
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    ensure!(
        output.stdout == format!("{digits}  -\n{}\n", data.len()),
        "{output:?}"
    );
    let output = thaw
        .output(&["run", "--", "sh", "-c", "yes | head -c 30000000"])
        .await?;
    ensure!(
        output.stdout == "y\n".repeat(15_000_000),
        "{} bytes",
        output.stdout.len()
    );
    Ok(())
}

async fn a_closed_pipe_is_no_panic(host: Arc<Host>) -> Result {
    let mut child = Thaw::new(&host)?.spawn(&["run", "yes"])?;
    let mut line = [0; 2];
    let mut stdout = child.stdout.take().context("no pipe")?;
    tokio::io::AsyncReadExt::read_exact(&mut stdout, &mut line).await?;
    drop(stdout);
    let output = tokio::time::timeout(SOON, child.wait_with_output()).await??;
    ensure!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(output.status.code() == Some(141), "{}", output.status);
    ensure!(live(&host).await?.is_empty());
    Ok(())
}

async fn interrupts_are_forwarded(host: Arc<Host>) -> Result {
    let thaw = Thaw::new(&host)?;
    let polite = "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.1; done";
    let (output, code) = interrupted(&thaw, polite, 1).await?;
    ensure!(
        output == "caught\n" && code == Some(3),
        "{output:?} {code:?}"
    );
    let stubborn = "trap '' INT; echo ready; while :; do sleep 0.1; done";
    let (_, code) = interrupted(&thaw, stubborn, 2).await?;
    ensure!(code == Some(130), "{code:?}");
    ensure!(live(&host).await?.is_empty());
    Ok(())
}

/// Sends SIGINT so many times once the program is ready; gives what it says then.
async fn interrupted(thaw: &Thaw, line: &str, times: u32) -> Result<(String, Option<i32>)> {
    let mut child = thaw.spawn(&["run", "--", "sh", "-c", line])?;
    let mut ready = [0; 6];
    let stdout = child.stdout.as_mut().context("no pipe")?;
    tokio::io::AsyncReadExt::read_exact(stdout, &mut ready).await?;
    for _ in 0..times {
        let pid = child.id().context("it has ended")?;
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGINT)?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let output = tokio::time::timeout(SOON, child.wait_with_output()).await??;
    Ok((String::from_utf8(output.stdout)?, output.status.code()))
}

async fn termination_ends_the_sandbox(host: Arc<Host>) -> Result {
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let mut child = Thaw::new(&host)?.spawn(&["run", "--", "sh", "-c", "echo; sleep 1000"])?;
        let stdout = child.stdout.as_mut().context("no pipe")?;
        tokio::io::AsyncReadExt::read_exact(stdout, &mut [0]).await?;
        let pid = child.id().context("it has ended")?;
        kill(Pid::from_raw(pid.cast_signed()), signal)?;
        let output = tokio::time::timeout(SOON, child.wait_with_output()).await??;
        ensure!(
            output.status.code() == Some(128 + signal as i32),
            "{signal}: {}",
            output.status
        );
        ensure!(live(&host).await?.is_empty(), "{signal}");
    }
    Ok(())
}

async fn a_terminal_follows_ours(host: Arc<Host>) -> Result {
    let thaw = Thaw::new(&host)?;
    let line = "stty size; echo $TERM; read x; stty size; exit 9";
    let mut terminal = Terminal::run(&thaw, &["run", "--", "sh", "-c", line], (30, 90))?;
    terminal.read_until("30 90").await?;
    terminal.resize(40, 100)?;
    // The size travels by itself: it must be there before the next command asks for it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    terminal.write(b"\r").await?;
    terminal.read_until("40 100").await?;
    ensure!(terminal.wait().await.context("after the resize")?.code() == Some(9));

    // Typed before the program has said something, it would be for the terminal here.
    let line = "echo ready; cat";
    let mut terminal = Terminal::run(&thaw, &["run", "--", "sh", "-c", line], (24, 80))?;
    terminal.read_until("ready").await?;
    terminal.write(b"hello\r").await?;
    terminal.read_until("hello\r\nhello").await?;
    terminal.write(&[3]).await?;
    ensure!(terminal.wait().await.context("after Ctrl-C")?.code() == Some(130));
    ensure!(terminal.is_cooked()?, "the terminal is left in raw mode");
    Ok(())
}

async fn create_ps_exec_inspect_kill(host: Arc<Host>) -> Result {
    let thaw = Thaw::new(&host)?;
    let id = thaw
        .says(&["create", "--label", "team=red", "--timeout", "10m"])
        .await?;
    let table = thaw.says(&["ps"]).await?;
    ensure!(table.contains(&id) && table.contains("team=red") && table.contains("running"));
    ensure!(
        !thaw
            .says(&["ps", "--label", "team=blue"])
            .await?
            .contains(&id)
    );
    ensure!(
        thaw.says(&["exec", "-e", "A=1", &id, "--", "sh", "-c", "echo $A"])
            .await?
            == "1"
    );

    let spawned = thaw.spawn(&["exec", &id, "sleep", "1000"])?;
    let listed = eventually(SOON, async || {
        thaw.says(&["ps", &id])
            .await
            .is_ok_and(|table| table.contains("sleep 1000"))
    });
    ensure!(listed.await, "{}", thaw.says(&["ps", &id]).await?);
    drop(spawned);

    let json: Value = serde_json::from_str(&thaw.says(&["inspect", &id]).await?)?;
    ensure!(
        json["id"] == id.as_str() && json["labels"]["team"] == "red",
        "{json}"
    );
    ensure!(
        json["create_stages"]
            .as_array()
            .is_some_and(|stages| !stages.is_empty()),
        "{json}"
    );
    let json: Value = serde_json::from_str(&thaw.says(&["ps", "--json"]).await?)?;
    ensure!(json[0]["id"] == id.as_str(), "{json}");

    ensure!(thaw.says(&["kill", &id]).await? == id);
    ensure!(!thaw.says(&["ps"]).await?.contains(&id));
    ensure!(
        thaw.says(&["ps", "--all"])
            .await?
            .contains("stopped (killed)")
    );
    Ok(())
}

async fn pause_and_resume(host: Arc<Host>) -> Result {
    let thaw = Thaw::new(&host)?;
    let sandbox = host.create().await?;
    thaw.says(&["pause", sandbox.id()]).await?;
    ensure!(sandbox.get().await?.state() == SandboxState::Paused);
    thaw.says(&["resume", sandbox.id()]).await?;
    ensure!(sandbox.get().await?.state() == SandboxState::Running);
    Ok(())
}

async fn snapshots(host: Arc<Host>) -> Result {
    let thaw = Thaw::new(&host)?;
    let sandbox = host.create().await?;
    sandbox.says("echo kept > /root/kept").await?;
    let id = thaw
        .says(&["snapshot", "create", sandbox.id(), "--name", "mine"])
        .await?;
    let table = thaw.says(&["snapshot", "ls"]).await?;
    ensure!(table.contains(&id) && table.contains("mine"), "{table}");
    ensure!(
        thaw.says(&["run", "--snapshot", "mine", "cat", "/root/kept"])
            .await?
            == "kept"
    );
    let again = thaw
        .output(&["snapshot", "create", sandbox.id(), "--name", "mine"])
        .await?;
    ensure!(again.code == Some(125), "{again:?}");
    let next = thaw
        .says(&[
            "snapshot",
            "create",
            sandbox.id(),
            "--name",
            "mine",
            "--replace",
        ])
        .await?;
    ensure!(next != id);
    thaw.says(&["snapshot", "rm", "mine", &id]).await?;
    ensure!(!thaw.says(&["snapshot", "ls"]).await?.contains(&id));
    Ok(())
}

async fn copies_go_round(host: Arc<Host>) -> Result {
    let thaw = Thaw::new(&host)?;
    let sandbox = host.create().await?;
    let there = |path: &str| format!("{}:{path}", sandbox.id());
    let here = tempfile::tempdir()?;
    let path = |name: &str| here.path().join(name).display().to_string();

    fs::create_dir_all(here.path().join("tree/inner/empty"))?;
    let mut script = fs::File::create(here.path().join("tree/script"))?;
    script.write_all(b"#!/bin/sh\necho it runs\n")?;
    script.set_permissions(fs::Permissions::from_mode(0o750))?;
    drop(script);
    fs::write(here.path().join("tree/inner/data"), vec![7; 3_000_000])?;
    symlink("inner/data", here.path().join("tree/link"))?;

    thaw.says(&["cp", &path("tree"), &there("/root")]).await?;
    ensure!(sandbox.says("/root/tree/script").await? == "it runs");
    ensure!(sandbox.says("readlink /root/tree/link").await? == "inner/data");
    ensure!(sandbox.says("ls -A /root/tree/inner/empty | wc -l").await? == "0");

    thaw.says(&["cp", &there("/root/tree"), &path("back")])
        .await?;
    ensure!(fs::read(path("back/inner/data"))? == vec![7; 3_000_000]);
    let mode = fs::metadata(path("back/script"))?.permissions().mode() & 0o7777;
    ensure!(mode == 0o750, "{mode:o}");
    ensure!(fs::read_link(path("back/link"))?.as_os_str() == "inner/data");
    // The second time over what is there already, and into a directory.
    thaw.says(&["cp", &there("/root/tree"), &path("back")])
        .await?;
    ensure!(fs::read(path("back/tree/inner/data"))?.len() == 3_000_000);

    thaw.with_input(&["cp", "-", &there("/root/stdin")], b"from stdin")
        .await?;
    ensure!(thaw.says(&["cp", &there("/root/stdin"), "-"]).await? == "from stdin");
    Ok(())
}

async fn copies_do_not_leave_their_place(host: Arc<Host>) -> Result {
    let thaw = Thaw::new(&host)?;
    let sandbox = host.create().await?;
    let here = tempfile::tempdir()?;
    let secret = here.path().join("secret");
    fs::write(&secret, "untouched")?;
    // An earlier copy brought a link that leads out; the next one has a directory in its place.
    fs::create_dir(here.path().join("copy"))?;
    symlink(here.path(), here.path().join("copy/d"))?;
    sandbox
        .says("mkdir -p /root/copy/d && echo broken > /root/copy/d/secret")
        .await?;
    let from = format!("{}:/root/copy", sandbox.id());
    let output = thaw
        .output(&["cp", &from, &here.path().display().to_string()])
        .await?;
    ensure!(output.code == Some(125), "{output:?}");
    ensure!(fs::read_to_string(&secret)? == "untouched");
    Ok(())
}

async fn doctor(host: Arc<Host>) -> Result {
    let thaw = Thaw::new(&host)?;
    let output = thaw.output(&["doctor"]).await?;
    ensure!(
        output.code == Some(0) && output.stdout.contains("WHAT TO DO"),
        "{output:?}"
    );
    let json: Value = serde_json::from_str(&thaw.says(&["doctor", "--json"]).await?)?;
    ensure!(json["healthy"] == true, "{json}");
    let nowhere = thaw
        .output(&["--endpoint", "unix:/no/such", "doctor"])
        .await?;
    ensure!(
        nowhere.code == Some(1)
            && nowhere.stdout.contains("xtask up")
            && nowhere.stdout.contains("KVM that is fit"),
        "{nowhere:?}"
    );
    Ok(())
}

async fn logs_of_a_failed_sandbox(host: Arc<Host>) -> Result {
    let thaw = Thaw::new(&host)?;
    let sandbox = host.create().await?;
    ensure!(thaw.output(&["logs", sandbox.id()]).await?.code == Some(125));
    sandbox
        .spawn(tests::process::shell("echo c > /proc/sysrq-trigger"))
        .await?;
    sandbox
        .becomes(SandboxState::Failed, Duration::from_secs(60))
        .await?;
    ensure!(
        thaw.says(&["logs", sandbox.id()])
            .await?
            .contains("Kernel panic")
    );
    Ok(())
}

async fn errors_say_what_to_do(host: Arc<Host>) -> Result {
    let thaw = Thaw::new(&host)?;
    let output = thaw.output(&["--endpoint", "unix:/no/such", "ps"]).await?;
    ensure!(
        output.code == Some(125) && output.stderr.contains("Start it"),
        "{output:?}"
    );
    let output = thaw.output(&["kill", "sbx_none"]).await?;
    ensure!(
        output.code == Some(125) && output.stderr.contains("thaw ps"),
        "{output:?}"
    );
    let output = thaw.output(&["cp", "/a", "/b"]).await?;
    ensure!(output.code == Some(125), "{output:?}");
    let output = thaw.output(&["no-such-command"]).await?;
    ensure!(output.code == Some(125), "{output:?}");
    Ok(())
}
