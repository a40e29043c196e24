//! The namespace, and the veth pair that leads to it.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;

use anyhow::{Context, ensure};
use nix::sched::{CloneFlags, unshare};

use super::addresses::{ALL, HOST, PREFIX};

/// The host's end.
const NEAR: &str = "thaw-world";
/// The end in the namespace.
const FAR: &str = "wire";

/// Moves this process into a namespace of its own, which the host reaches at the world's addresses.
pub fn enter() -> crate::Result {
    let host = File::open("/proc/self/ns/net")?;
    unshare(CloneFlags::CLONE_NEWNET).context("a network namespace (as root)")?;
    let own = std::process::id().to_string();
    let outside = format!("--net=/proc/{own}/fd/{}", host.as_raw_fd());
    // One that was left over by a world that is just ending.
    let _ = Command::new("nsenter")
        .args([&outside, "ip", "link", "del", NEAR])
        .stderr(std::process::Stdio::null())
        .status();
    let near = format!("{HOST}/{PREFIX}");
    let pair = [
        "link", "add", NEAR, "type", "veth", "peer", "name", FAR, "netns", &own,
    ];
    let steps: [&[&str]; 3] = [
        &pair,
        &["address", "add", &near, "dev", NEAR],
        &["link", "set", NEAR, "up"],
    ];
    for step in steps {
        let words = [&[outside.as_str(), "ip"], step].concat();
        run("nsenter", &words)?;
    }
    for address in ALL {
        run(
            "ip",
            &["address", "add", &format!("{address}/{PREFIX}"), "dev", FAR],
        )?;
    }
    run("ip", &["link", "set", "lo", "up"])?;
    run("ip", &["link", "set", FAR, "up"])
}

fn run(program: &str, arguments: &[&str]) -> crate::Result {
    let output = Command::new(program).args(arguments).output()?;
    ensure!(
        output.status.success(),
        "{program} {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
