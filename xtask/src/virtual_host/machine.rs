//! The emulated machine: QEMU's command line, and what is remembered of a running one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// Bytes of memory of a machine that gets the large virtual host.
const LARGE_MACHINE: u64 = 15 << 30;

/// A machine's parts.
#[derive(Debug)]
pub struct Parts<'a> {
    /// The uncompressed kernel.
    pub kernel: &'a Path,
    /// The initramfs.
    pub initramfs: &'a Path,
    /// `/dev/vda`: the root file system, read-only.
    pub root: &'a Path,
    /// `/dev/vdb`: the shelf, read-only.
    pub shelf: &'a Path,
    /// `/dev/vdc`: what outlives the virtual host.
    pub scratch: &'a Path,
    /// Where the console goes.
    pub console: &'a Path,
    /// Where sockets and the PID file go.
    pub runtime: &'a Path,
    /// The port of 127.0.0.1 that leads to the ssh server.
    pub ssh_port: u16,
}

/// Adds to `qemu` what describes the machine. It starts in the background.
pub fn describe(qemu: &mut Command, parts: &Parts<'_>) {
    let path = |path: &Path| path.display().to_string();
    let disk = |id: &str, file: &Path, options: &str| {
        // A file name has its commas doubled in QEMU's option lists.
        let file = path(file).replace(',', ",,");
        [
            "-drive".to_owned(),
            format!("if=none,id={id},format=raw,file={file},{options}"),
            "-device".to_owned(),
            format!("virtio-blk-pci,drive={id},disable-legacy=on"),
        ]
    };
    qemu.args([
        "-machine",
        "q35,usb=off,vmport=off",
        "-nodefaults",
        "-no-user-config",
    ])
    .args([
        "-accel",
        "tcg,thread=multi,tb-size=1024",
        // Two for programs and guests; tests/virtual-host/init tells why they leave the first alone.
        "-smp",
        "3",
        "-cpu",
        "max,svm=on",
    ])
    .args([
        "-m",
        memory(),
        "-display",
        "none",
        "-no-reboot",
        "-daemonize",
    ])
    .args(["-pidfile", &path(&pid_file(parts.runtime))])
    .args([
        "-qmp",
        &format!(
            "unix:{},server=on,wait=off",
            path(&qmp_socket(parts.runtime))
        ),
    ])
    .args([
        "-chardev",
        &format!("file,id=console,path={}", path(parts.console)),
    ])
    .args(["-serial", "chardev:console"])
    .arg("-kernel")
    .arg(parts.kernel)
    .arg("-initrd")
    .arg(parts.initramfs)
    .args([
        "-append",
        "console=ttyS0 quiet mitigations=off panic=1 net.ifnames=0",
    ])
    .args(disk("root", parts.root, "readonly=on"))
    .args(disk("shelf", parts.shelf, "readonly=on,file.locking=off"))
    // What is on the scratch disk can be made again: no flush is worth waiting for.
    .args(disk("scratch", parts.scratch, "cache=unsafe,discard=unmap"))
    .args(["-device", "virtio-rng-pci,disable-legacy=on"])
    .arg("-netdev")
    .arg(format!(
        "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{}-:22",
        parts.ssh_port
    ))
    .args([
        "-device",
        "virtio-net-pci,netdev=net,romfile=,disable-legacy=on",
    ]);
}

/// Where QEMU takes orders.
pub fn qmp_socket(runtime: &Path) -> PathBuf {
    runtime.join("qmp")
}

/// Where QEMU writes its PID.
pub fn pid_file(runtime: &Path) -> PathBuf {
    runtime.join("pid")
}

/// QEMU takes memory only as the guest touches it.
fn memory() -> &'static str {
    let information = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = information
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .trim()
                .strip_suffix(" kB")?
                .parse()
                .ok()
        })
        .unwrap_or(0u64);
    if kib << 10 >= LARGE_MACHINE {
        "8G"
    } else {
        "4G"
    }
}

/// What is remembered of a virtual host, in its runtime directory. It is written before QEMU starts,
/// so that no QEMU is ever without one.
#[derive(Debug, Deserialize, Serialize)]
pub struct Record {
    /// The port of 127.0.0.1 that leads to the ssh server.
    pub ssh_port: u16,
}

impl Record {
    /// Reads it; `None` when there is none.
    pub fn load(runtime: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(file(runtime)).ok()?).ok()
    }

    /// Writes it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, runtime: &Path) -> Result<()> {
        fs::write(file(runtime), serde_json::to_vec(self)?).context("cannot note the virtual host")
    }
}

/// QEMU's process, if it is there and still ours: PIDs are used again.
pub fn process(runtime: &Path) -> Option<Pid> {
    let path = pid_file(runtime);
    let pid: i32 = fs::read_to_string(&path).ok()?.trim().parse().ok()?;
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let ours = path.as_os_str().as_encoded_bytes();
    arguments
        .split(|byte| *byte == 0)
        .any(|argument| argument == ours)
        .then(|| Pid::from_raw(pid))
}

fn file(runtime: &Path) -> PathBuf {
    runtime.join("host.json")
}
