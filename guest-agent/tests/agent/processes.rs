//! Starting programs: how they end, who they are, what they inherit, and who remembers them.

use nix::errno::Errno;
use protocol::agent::v1 as wire;
use protocol::types::v1::ProcessSpec;
use tonic::Code;

use crate::harness::{
    Guest, assert_posix, assert_reason, eventually, is_alive, program, shell, within,
};

#[tokio::test]
async fn ends_are_told_apart() {
    let mut guest = Guest::running().await;
    assert_eq!(
        guest.run(program("true", &[])).await.unwrap().code(),
        Some(0)
    );
    assert_eq!(
        guest.run(program("false", &[])).await.unwrap().code(),
        Some(1)
    );
    assert_eq!(guest.sh("exit 127").await.code(), Some(127));
    assert_eq!(guest.sh("kill -TERM $$").await.signal(), Some(15));
    assert_eq!(guest.sh("kill -40 $$").await.signal(), Some(40));
}

#[tokio::test]
async fn output_streams_are_two_and_exact() {
    let mut guest = Guest::running().await;
    let outcome = guest.sh("echo out; echo err >&2").await;
    assert_eq!(
        (outcome.text(), outcome.stderr.as_slice()),
        ("out\n", b"err\n".as_slice())
    );
    let spec = ProcessSpec {
        stdout: 2,
        stderr: 2,
        ..shell("echo out; echo err >&2")
    };
    let outcome = guest.run(spec).await.unwrap();
    assert!(outcome.stdout.is_empty() && outcome.stderr.is_empty());
}

#[tokio::test]
async fn failures_to_start_say_which_call_and_why() {
    let mut guest = Guest::running().await;
    let text = guest.path("text");
    std::fs::write(&text, "no program").unwrap();
    let error = guest
        .run(program("no-such-program", &[]))
        .await
        .unwrap_err();
    assert_posix(&error, Code::NotFound, Errno::ENOENT, "execve");
    let error = guest
        .run(program("/no/such/program", &[]))
        .await
        .unwrap_err();
    assert_posix(&error, Code::NotFound, Errno::ENOENT, "execve");
    let error = guest.run(program(&text, &[])).await.unwrap_err();
    assert_posix(&error, Code::PermissionDenied, Errno::EACCES, "execve");
    let error = guest.run(program("/", &[])).await.unwrap_err();
    assert_posix(&error, Code::PermissionDenied, Errno::EACCES, "execve");

    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&text, std::fs::Permissions::from_mode(0o755)).unwrap();
    let error = guest.run(program(&text, &[])).await.unwrap_err();
    assert_posix(&error, Code::InvalidArgument, Errno::ENOEXEC, "execve");

    let spec = ProcessSpec {
        cwd: "/no/such".into(),
        ..program("true", &[])
    };
    assert_posix(
        &guest.run(spec).await.unwrap_err(),
        Code::NotFound,
        Errno::ENOENT,
        "chdir",
    );
    let spec = ProcessSpec {
        user: "no-such-user".into(),
        ..program("true", &[])
    };
    assert_eq!(
        guest.run(spec).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let spec = program("true", &["x".repeat(200_000).as_str()]);
    assert_posix(
        &guest.run(spec).await.unwrap_err(),
        Code::InvalidArgument,
        Errno::E2BIG,
        "execve",
    );
    assert!(
        guest
            .processes
            .list(wire::ListRequest {})
            .await
            .unwrap()
            .get_ref()
            .processes
            .is_empty()
    );
}

#[tokio::test]
async fn environment_directory_and_user() {
    let mut guest = Guest::running().await;
    let env = [("A".to_owned(), "a b".to_owned())].into();
    let spec = ProcessSpec {
        env,
        cwd: "/usr".into(),
        ..shell("echo $A $LANG $USER; pwd; umask")
    };
    assert_eq!(
        guest.run(spec).await.unwrap().text(),
        "a b C.UTF-8 root\n/usr\n0022\n"
    );
    let spec = ProcessSpec {
        clear_env: true,
        ..program("/usr/bin/env", &[])
    };
    assert_eq!(guest.run(spec).await.unwrap().text(), "");
    let spec = ProcessSpec {
        user: "65534:100".into(),
        ..shell("id -u; id -g; id -G; pwd")
    };
    assert_eq!(
        guest.run(spec).await.unwrap().text(),
        "65534\n100\n100\n/\n"
    );
    let spec = ProcessSpec {
        user: "65534".into(),
        cwd: "/root".into(),
        ..program("true", &[])
    };
    if guest.run(shell("stat -c %a /root")).await.unwrap().text() == "700\n" {
        let error = guest.run(spec).await.unwrap_err();
        assert_posix(&error, Code::PermissionDenied, Errno::EACCES, "chdir");
    }
}

#[tokio::test]
async fn nothing_of_the_agent_is_inherited() {
    let mut guest = Guest::running().await;
    let outcome = guest
        .sh("ls /proc/self/fd; cat /proc/self/oom_score_adj")
        .await;
    // ls has one more for the directory that it reads.
    assert_eq!(outcome.text(), "0\n1\n2\n3\n0\n");
    let outcome = guest
        .sh("grep -E 'Sig(Blk|Ign)|NSsid|NSpgid' /proc/self/status")
        .await;
    let text = outcome.text();
    assert!(text.contains("SigBlk:\t0000000000000000"), "{text}");
    assert!(text.contains("SigIgn:\t0000000000000000"), "{text}");
    assert!(
        text.contains(&format!("NSsid:\t{}\n", outcome.pid)),
        "{text}"
    );
    assert!(
        text.contains(&format!("NSpgid:\t{}\n", outcome.pid)),
        "{text}"
    );
}

#[tokio::test]
async fn fifty_at_once() {
    let guest = Guest::running().await;
    let runs = (0..50).map(|number| {
        let mut processes = guest.processes.clone();
        async move {
            let spec = shell(&format!("sleep 0.3; echo {number}; exit {number}"));
            let pid = processes.spawn(spec).await.unwrap().into_inner().pid;
            let info = within(processes.wait(wire::WaitRequest { pid }))
                .await
                .unwrap()
                .into_inner();
            use protocol::types::v1::exit_status::Status;
            assert_eq!(info.exit.unwrap().status, Some(Status::Code(number)));
        }
    });
    futures::future::join_all(runs).await;
    let mut processes = guest.processes.clone();
    let list = processes
        .list(wire::ListRequest {})
        .await
        .unwrap()
        .into_inner()
        .processes;
    assert_eq!(list.len(), 50);
    assert!(
        list.iter()
            .all(|info| info.exit.is_some() && info.program == "sh")
    );
}

#[tokio::test]
async fn the_last_256_are_remembered() {
    let mut guest = Guest::running().await;
    let mut first = 0;
    for number in 0..260 {
        let outcome = guest.run(program("/bin/true", &[])).await.unwrap();
        if number == 0 {
            first = outcome.pid;
        }
    }
    let list = guest
        .processes
        .list(wire::ListRequest {})
        .await
        .unwrap()
        .into_inner()
        .processes;
    assert_eq!(list.len(), 256);
    let error = guest
        .processes
        .wait(wire::WaitRequest { pid: first })
        .await
        .unwrap_err();
    assert_reason(&error, Code::NotFound, "PROCESS_NOT_FOUND");
}

#[tokio::test]
async fn signals_reach_the_group_and_never_the_dead() {
    let mut guest = Guest::running().await;
    let spec = shell("sleep 1000 & echo $!; wait");
    let pid = guest.processes.spawn(spec).await.unwrap().into_inner().pid;
    let bad = guest
        .processes
        .signal(wire::SignalRequest { pid, signal: 65 })
        .await
        .unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument);
    guest
        .processes
        .signal(wire::SignalRequest { pid, signal: 9 })
        .await
        .unwrap();
    within(guest.processes.wait(wire::WaitRequest { pid }))
        .await
        .unwrap();
    let late = guest
        .processes
        .signal(wire::SignalRequest { pid, signal: 9 })
        .await
        .unwrap_err();
    assert_reason(&late, Code::NotFound, "PROCESS_ENDED");
    let none = guest
        .processes
        .signal(wire::SignalRequest { pid: 1, signal: 9 })
        .await
        .unwrap_err();
    assert_reason(&none, Code::NotFound, "PROCESS_NOT_FOUND");
}

#[tokio::test]
async fn a_timeout_kills_the_group() {
    let mut guest = Guest::running().await;
    let timeout = Some(prost_types::Duration {
        seconds: 0,
        nanos: 200_000_000,
    });
    let spec = ProcessSpec {
        timeout,
        ..shell("sleep 1000 & echo $!; wait")
    };
    let outcome = guest.run(spec).await.unwrap();
    assert_eq!(outcome.signal(), Some(9));
    assert!(outcome.exit.unwrap().timed_out);
    let child: u32 = outcome.text().trim().parse().unwrap();
    eventually("the child is killed too", || !is_alive(child)).await;

    let timeout = Some(prost_types::Duration {
        seconds: 60,
        nanos: 0,
    });
    let outcome = guest
        .run(ProcessSpec {
            timeout,
            ..shell("kill -9 $$")
        })
        .await
        .unwrap();
    assert!(!outcome.exit.unwrap().timed_out);
}
