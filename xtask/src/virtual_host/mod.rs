//! The virtual host: QEMU's software CPU with AMD SVM, and Debian in it, so that there is a
//! real `/dev/kvm` where the machine has none of use.
//!
//! ```text
//!  start ──► boot ──► ready ──► stop
//!              └─ no sign of life in BOOT_PATIENCE: its console's tail is the error
//! ```
//! One virtual host per cache directory, shared by every caller; a file lock orders them.

mod emulator;
mod files;
mod initramfs;
mod keys;
mod machine;
mod qmp;
pub mod root;
mod shelf;
mod ssh;

use std::{
    fs,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use images::command::{command, run};
use nix::sys::signal::{Signal, kill};
use serde_json::json;

pub use self::ssh::Ssh;
use self::{keys::Keys, machine::Record, shelf::Shelf};
use crate::{cache, exec::signals, paths, products::Set, progress, tools};

/// Booting takes seconds; ten times that on a machine that is busy with other things.
const BOOT_PATIENCE: Duration = Duration::from_secs(180);
/// QEMU ends at once when it is asked to.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// What the console shows when the virtual host can be used: its ssh server's first line.
const READY: &str = "Server listening on";
/// A file in the runtime directory: the virtual host outlives the command that started it.
const KEPT: &str = "kept";
/// The console's file.
const CONSOLE: &str = "console.log";
/// Bytes of the scratch disk. It is sparse.
const SCRATCH_SIZE: u64 = 64 << 30;

/// A running virtual host.
#[derive(Debug)]
pub struct VirtualHost {
    cache: PathBuf,
    directory: PathBuf,
    runtime: PathBuf,
    ssh: Ssh,
}

impl VirtualHost {
    /// The running virtual host; starts one when none runs.
    ///
    /// # Errors
    /// When something it needs cannot be had, or it does not boot.
    pub fn start() -> Result<Self> {
        let cache = paths::cache()?;
        let _lock = cache::lock(&cache)?;
        if let Some(running) = Self::attach(&cache)? {
            // Whoever started it may have been ended while it booted.
            await_ready(&running.runtime, &running.directory)?;
            return Ok(running);
        }
        tools::ensure(tools::BUILDING)?;
        tools::ensure(tools::REMOTE)?;
        boot(&cache)?;
        Self::attach(&cache)?.context("the virtual host ended as soon as it had started")
    }

    /// The running virtual host, if one runs.
    ///
    /// # Errors
    /// When its files cannot be read.
    pub fn running() -> Result<Option<Self>> {
        Self::attach(&paths::cache()?)
    }

    fn attach(cache: &Path) -> Result<Option<Self>> {
        let runtime = paths::runtime(cache)?;
        let (Some(record), Some(_)) = (Record::load(&runtime), machine::process(&runtime)) else {
            return Ok(None);
        };
        let ssh = Ssh::new(record.ssh_port, &runtime, &Keys::load(cache)?)?;
        Ok(Some(Self {
            cache: cache.to_owned(),
            directory: cache.join("virtual-host"),
            runtime,
            ssh,
        }))
    }

    /// From now on it runs until somebody asks for its end: not just as long as the command that
    /// started it.
    ///
    /// # Errors
    /// When that cannot be noted.
    pub fn keep(&self) -> Result<()> {
        Ok(fs::write(self.runtime.join(KEPT), "")?)
    }

    /// Whether [`Self::keep`] was called since it started.
    pub fn is_kept(&self) -> bool {
        self.runtime.join(KEPT).exists()
    }

    /// The way to run commands in it.
    pub fn ssh(&self) -> &Ssh {
        &self.ssh
    }

    /// Puts `set` on the shelf and mounts it; returns its directory in the virtual host.
    ///
    /// # Errors
    /// When it cannot be packed or mounted.
    pub fn shelve(&self, set: &Set) -> Result<String> {
        let _lock = cache::lock(&self.cache)?;
        let slot = Shelf::new(&self.directory).put(set)?;
        let target = format!("/run/products/{}", slot.key);
        self.ssh.run(&format!(
            "mountpoint -q {target} || {{ mkdir -p {target} && \
             mount -t ext4 -o loop,ro,noload,offset={},sizelimit={} /dev/vdb {target}; }}",
            slot.offset, slot.length
        ))?;
        Ok(target)
    }

    /// Forwards `port` of 127.0.0.1 to the same port of the virtual host.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn forward(&self, port: u16) -> Result<()> {
        let line = format!("hostfwd_add net tcp:127.0.0.1:{port}-:{port}");
        qmp::monitor(&machine::qmp_socket(&self.runtime), &line)
            .with_context(|| format!("cannot forward port {port} of 127.0.0.1: is it taken?"))
    }

    /// Ends forwarding of `port`. No error if it was not forwarded.
    pub fn end_forward(&self, port: u16) {
        let line = format!("hostfwd_remove net tcp:127.0.0.1:{port}");
        let _ = qmp::monitor(&machine::qmp_socket(&self.runtime), &line);
    }

    /// What can be seen of it from outside when it no longer answers: its processors, and the end of its
    /// console.
    pub fn symptoms(&self) -> String {
        let socket = machine::qmp_socket(&self.runtime);
        let registers = qmp::ask_monitor(&socket, "info registers -a");
        let console = fs::read(self.directory.join(CONSOLE)).unwrap_or_default();
        format!(
            "--- processors\n{}\n--- console\n{}",
            registers.unwrap_or_else(|error| format!("{error:#}")),
            tail(&String::from_utf8_lossy(&console))
        )
    }

    /// Stops it and removes its sockets. What is in the cache stays.
    ///
    /// # Errors
    /// When QEMU's process does not end.
    pub fn stop(&self) -> Result<()> {
        let _lock = cache::lock(&self.cache)?;
        let _ = self
            .ssh
            .run("sync; umount /scratch 2>/dev/null || mount -o remount,ro /scratch");
        self.ssh.disconnect();
        let _ = qmp::execute(&machine::qmp_socket(&self.runtime), "quit", json!({}));
        let ended = || machine::process(&self.runtime).is_none();
        if !wait_until(END_PATIENCE, ended) {
            kill_machine(&self.runtime);
            if !wait_until(END_PATIENCE, ended) {
                bail!("QEMU does not end");
            }
        }
        fs::remove_dir_all(&self.runtime)?;
        fs::remove_file(Shelf::new(&self.directory).disk())?;
        Ok(())
    }
}

fn boot(cache: &Path) -> Result<()> {
    let kernel = root::kernel(cache)?;
    let root = root::image(cache, &kernel)?;
    let mut qemu = emulator::command(cache)?;
    let keys = Keys::load(cache)?;

    let directory = cache.join("virtual-host");
    fs::create_dir_all(&directory)?;
    let runtime = paths::runtime(cache)?;
    let initramfs = directory.join("initramfs.cpio");
    initramfs::write(&kernel, &keys, &initramfs)?;
    let shelf = Shelf::new(&directory);
    shelf.clear()?;
    let scratch = scratch(&directory)?;
    let console = directory.join(CONSOLE);
    let _ = fs::remove_file(&console);
    let _ = fs::remove_file(runtime.join(KEPT));

    let step = progress::step("booting the virtual host");
    let ssh_port = free_port()?;
    machine::describe(
        &mut qemu,
        &machine::Parts {
            kernel: &kernel.vmlinux(),
            initramfs: &initramfs,
            root: &root,
            shelf: shelf.disk(),
            scratch: &scratch,
            console: &console,
            runtime: &runtime,
            ssh_port,
        },
    );
    Record { ssh_port }.save(&runtime)?;
    // It is not to be ended by what ends this program's terminal.
    run(qemu.process_group(0))?;
    await_ready(&runtime, &directory)?;
    Ssh::new(ssh_port, &runtime, &keys)?.connect()?;
    step.done();
    Ok(())
}

/// The disk that outlives virtual hosts; an empty file system at first.
fn scratch(directory: &Path) -> Result<PathBuf> {
    let path = directory.join("scratch.raw");
    if !path.exists() {
        let new = directory.join("scratch.new");
        fs::File::create(&new)?.set_len(SCRATCH_SIZE)?;
        run(command("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-m", "0"])
            .arg(&new))?;
        fs::rename(new, &path)?;
    }
    Ok(path)
}

fn await_ready(runtime: &Path, directory: &Path) -> Result<()> {
    let console = directory.join(CONSOLE);
    let shown = || String::from_utf8_lossy(&fs::read(&console).unwrap_or_default()).into_owned();
    let ended = || machine::process(runtime).is_none();
    let interrupted = || signals::check().is_err();
    wait_until(BOOT_PATIENCE, || {
        shown().contains(READY) || ended() || interrupted()
    });
    let shown = shown();
    if shown.contains(READY) && !ended() {
        return Ok(());
    }
    kill_machine(runtime);
    signals::check()?;
    bail!(
        "the virtual host did not boot; its console ({}) ends with\n{}",
        console.display(),
        tail(&shown)
    )
}

fn kill_machine(runtime: &Path) {
    if let Some(pid) = machine::process(runtime) {
        // It may have ended in the meantime.
        let _ = kill(pid, Signal::SIGKILL);
    }
}

/// The last lines of a console.
fn tail(text: &str) -> String {
    const LINES: usize = 30;
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// A port of 127.0.0.1 that is free now.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn wait_until(patience: Duration, condition: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() > patience {
            return false;
        }
        sleep(Duration::from_millis(20));
    }
    true
}
