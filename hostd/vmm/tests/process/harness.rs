//! Plays hostd for one vmm: the socketpair, the descriptors, the console.
#![expect(
    unsafe_code,
    reason = "the child's descriptor 3 is set up between fork and exec"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{IoSlice, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, sendmsg, setsockopt,
    socketpair, sockopt,
};
use prost::Message;
use protocol::vmm::v1 as wire;
use wire::reply::Reply as Answer;
use wire::request::Request as Ask;

use super::mini_guest;

/// Longer than anything takes in the virtual host.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test.
pub fn vmm_path() -> PathBuf {
    let from = |name| std::env::var_os(name).map(PathBuf::from);
    let named = from("THAW_VMM").or_else(|| Some(from("THAW_BIN")?.join("vmm")));
    named.unwrap_or_else(|| env!("CARGO_BIN_EXE_vmm").into())
}

/// Says why a test does not run, past the test runner, which shows nothing of tests that pass.
pub fn skip(reason: &str) {
    let must_run = std::env::var_os("THAW_MUST_RUN").is_some_and(|value| value == "1");
    assert!(!must_run, "this test must run: {reason}");
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    let line = format!("skipped {test}: {reason}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// What a machine boots.
pub struct Guest {
    pub kernel: File,
    pub initramfs: File,
    pub cmdline: String,
}

impl Guest {
    /// A guest of a few instructions; `None`, with the reason told, where there is no KVM at all.
    pub fn mini(code: &[u8]) -> Option<Self> {
        let probe = probe();
        if probe.contains(r#""kvm":"missing""#) {
            skip(&format!("no KVM here: {}", probe.trim()));
            return None;
        }
        Some(Self {
            kernel: mini_guest::kernel(code),
            initramfs: mini_guest::initramfs(),
            cmdline: String::new(),
        })
    }
}

/// What `vmm --probe` says.
pub fn probe() -> String {
    let probe = Command::new(vmm_path()).arg("--probe").output().unwrap();
    String::from_utf8(probe.stdout).unwrap()
}

/// A running vmm and hostd's ends of everything.
pub struct Vmm {
    child: Child,
    socket: Option<OwnedFd>,
    next_id: u64,
    console: Option<File>,
    seen: String,
    events: Vec<wire::Event>,
    net: Option<(OwnedFd, bool)>,
    directory: tempfile::TempDir,
}

/// The shape that most tests use.
pub fn machine(vcpus: u32, memory_mib: u64) -> wire::MachineConfig {
    wire::MachineConfig {
        vcpus,
        memory_bytes: memory_mib << 20,
        vsock_cid: 3,
        name: "test".into(),
        ..Default::default()
    }
}

impl Vmm {
    /// Starts a vmm that waits for its first request.
    pub fn start() -> Self {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .unwrap();
        let timeout = nix::sys::time::TimeVal::new(PATIENCE.as_secs() as i64, 0);
        setsockopt(&ours, sockopt::ReceiveTimeout, &timeout).unwrap();
        let mut command = Command::new(vmm_path());
        if let Ok(mode) = std::env::var("THAW_TEST_SECCOMP") {
            command.args(["--seccomp", &mode]);
        }
        let fd = theirs.as_raw_fd();
        // SAFETY: between fork and exec only dup2 is called, which is async-signal-safe.
        unsafe {
            command.pre_exec(move || {
                // dup2 onto itself would keep the close-on-exec flag.
                if fd == 3 {
                    nix::libc::fcntl(3, nix::libc::F_SETFD, 0);
                } else {
                    nix::libc::dup2(fd, 3);
                }
                Ok(())
            });
        }
        Self {
            child: command.spawn().unwrap(),
            socket: Some(ours),
            next_id: 1,
            console: None,
            seen: String::new(),
            events: Vec::new(),
            net: None,
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// The path of the machine's vsock socket.
    pub fn vsock_path(&self) -> PathBuf {
        self.directory.path().join("vsock.sock")
    }

    /// The machine is to have a network card on this tap.
    pub fn plug(&mut self, tap: OwnedFd, muted: bool) {
        self.net = Some((tap, muted));
    }

    /// Boots a guest; the machine is paused afterwards.
    pub fn boot(&mut self, guest: &Guest, machine: wire::MachineConfig, disks: &[Disk]) -> Answer {
        let mut fds = Vec::new();
        let machine = self.fill_in(machine, disks, &mut fds);
        let boot = wire::Boot {
            machine: Some(machine),
            kernel_fd: push(&mut fds, guest.kernel.try_clone().unwrap()),
            initramfs_fd: push(&mut fds, guest.initramfs.try_clone().unwrap()),
            cmdline: guest.cmdline.clone(),
        };
        self.ask(Ask::Boot(boot), &fds)
    }

    /// Restores a snapshot; the machine is paused afterwards.
    pub fn restore(
        &mut self,
        snapshot: &Snapshot,
        machine: wire::MachineConfig,
        disks: &[Disk],
    ) -> Answer {
        let mut fds = Vec::new();
        let machine = self.fill_in(machine, disks, &mut fds);
        let restore = wire::Restore {
            machine: Some(machine),
            memory_fd: push(&mut fds, snapshot.template.try_clone().unwrap()),
            state_fd: push(&mut fds, snapshot.state.try_clone().unwrap()),
        };
        self.ask(Ask::Restore(restore), &fds)
    }

    /// Saves the paused machine and makes a template of its memory.
    pub fn save(&mut self, writable_disks: usize) -> Snapshot {
        let mut fds = Vec::new();
        let memory = tempfile::tempfile().unwrap();
        let state = tempfile::tempfile().unwrap();
        let memory_fd = push(&mut fds, memory.try_clone().unwrap());
        let state_fd = push(&mut fds, state.try_clone().unwrap());
        let mut save = wire::Save {
            memory_fd,
            state_fd,
            ..Default::default()
        };
        let mut layers = Vec::new();
        for _ in 0..writable_disks {
            let (data, bitmap) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
            save.layer_fds
                .push(push(&mut fds, data.try_clone().unwrap()));
            save.layer_bitmap_fds
                .push(push(&mut fds, bitmap.try_clone().unwrap()));
            layers.push((data, bitmap));
        }
        let Answer::Saved(saved) = self.ask(Ask::Save(save), &fds) else {
            panic!("not saved");
        };
        let reader = snapshots::memory::MemoryReader::open(memory).unwrap();
        let template = snapshots::template::Template::load(&reader, None).unwrap();
        let template = template.as_fd().try_clone_to_owned().unwrap();
        Snapshot {
            saved,
            template: template.into(),
            state,
            layers,
        }
    }

    fn fill_in(
        &mut self,
        mut machine: wire::MachineConfig,
        disks: &[Disk],
        fds: &mut Vec<OwnedFd>,
    ) -> wire::MachineConfig {
        let listener = UnixListener::bind(self.vsock_path()).unwrap();
        machine.vsock_listener_fd = push(fds, listener);
        let (read, write) = nix::unistd::pipe().unwrap();
        machine.console_fd = push(fds, write);
        self.console = Some(read.into());
        if let Some((tap, muted)) = self.net.take() {
            let tap_fd = push(fds, tap);
            machine.net = Some(wire::Net {
                tap_fd,
                muted,
                limits: None,
            });
        }
        machine.disks = disks.iter().map(|disk| disk.to_wire(fds)).collect();
        machine
    }

    /// Sends a request and waits for its reply; events in between are kept.
    pub fn ask(&mut self, request: Ask, fds: &[OwnedFd]) -> Answer {
        let id = self.next_id;
        self.next_id += 1;
        let packet = wire::Request {
            id,
            request: Some(request),
        };
        self.send(&packet.encode_to_vec(), fds);
        loop {
            let reply = self.receive().expect("the vmm is gone");
            match reply.reply.unwrap() {
                Answer::Event(event) => self.events.push(event),
                answer => {
                    assert_eq!(reply.id, id);
                    return answer;
                }
            }
        }
    }

    /// Sends a packet of any bytes.
    pub fn send(&self, packet: &[u8], fds: &[OwnedFd]) {
        let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&numbers)];
        let ancillary: &[_] = if numbers.is_empty() { &[] } else { &rights };
        let socket = self.socket.as_ref().unwrap().as_raw_fd();
        sendmsg::<()>(
            socket,
            &[IoSlice::new(packet)],
            ancillary,
            MsgFlags::empty(),
            None,
        )
        .unwrap();
    }

    /// The next packet; `None` when the vmm is gone.
    pub fn receive(&self) -> Option<wire::Reply> {
        let mut packet = vec![0; 128 << 10];
        let socket = self.socket.as_ref().unwrap().as_raw_fd();
        let bytes = recv(socket, &mut packet, MsgFlags::empty()).expect("no reply in time");
        (bytes > 0).then(|| wire::Reply::decode(&packet[..bytes]).unwrap())
    }

    /// Waits for an event.
    pub fn event(&mut self) -> wire::Event {
        if !self.events.is_empty() {
            return self.events.remove(0);
        }
        let reply = self.receive().expect("the vmm is gone");
        let Some(Answer::Event(event)) = reply.reply else {
            panic!("not an event: {reply:?}");
        };
        event
    }

    /// Reads the console until `text` has appeared; what follows it is kept for the next call.
    pub fn wait_for(&mut self, text: &str) -> String {
        let started = Instant::now();
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            self.read_console(Duration::from_secs(1));
            let waited = started.elapsed();
            assert!(waited < PATIENCE, "no {text:?} in {:?}", self.seen);
        }
    }

    /// Takes what is in the console's pipe, waiting for it if there is nothing.
    fn read_console(&mut self, wait: Duration) {
        let console = self.console.as_mut().unwrap();
        let wait = nix::poll::PollTimeout::try_from(wait).unwrap();
        let fd = PollFd::new(console.as_fd(), PollFlags::POLLIN);
        let mut buffer = [0; 4096];
        if poll(&mut [fd], wait).unwrap() > 0 {
            let bytes = console.read(&mut buffer).unwrap();
            assert!(bytes > 0, "the console ended after {:?}", self.seen);
            let text = String::from_utf8_lossy(&buffer[..bytes]);
            if std::env::var_os("THAW_TEST_VERBOSE").is_some() {
                print!("{text}");
            }
            self.seen.push_str(&text);
        }
    }

    /// All that is in the console's pipe, after the vmm has stopped writing.
    pub fn drain_console(&mut self) -> String {
        self.read_console(Duration::ZERO);
        std::mem::take(&mut self.seen)
    }

    /// The next byte on the console.
    pub fn next_byte(&mut self) -> u8 {
        let started = Instant::now();
        while self.seen.is_empty() {
            self.read_console(Duration::from_secs(1));
            assert!(started.elapsed() < PATIENCE, "the console is silent");
        }
        self.seen.remove(0) as u8
    }

    /// KVM's counters by name.
    pub fn stats(&mut self) -> (u64, BTreeMap<String, u64>) {
        match self.ask(Ask::Stats(wire::Stats {}), &[]) {
            Answer::Stats(stats) => (stats.exits, stats.kvm.into_iter().collect()),
            other => panic!("{other:?}"),
        }
    }

    /// The network card's counters.
    pub fn net_stats(&mut self) -> wire::NetStats {
        match self.ask(Ask::Stats(wire::Stats {}), &[]) {
            Answer::Stats(stats) => stats.net.expect("a network card"),
            other => panic!("{other:?}"),
        }
    }

    /// Asks for something that has no other answer than "done".
    pub fn done(&mut self, request: Ask) {
        let answer = self.ask(request, &[]);
        assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
    }

    /// Lets the machine run.
    pub fn resume(&mut self) {
        self.done(Ask::Resume(wire::Resume {}));
    }

    /// Stops the machine.
    pub fn pause(&mut self) {
        self.done(Ask::Pause(wire::Pause {}));
    }

    /// Stops the machine, whose guest may have ended by itself.
    pub fn pause_or_ended(&mut self) {
        let answer = self.ask(Ask::Pause(wire::Pause {}), &[]);
        let ended = matches!(&answer, Answer::Failure(failure)
            if failure.kind() == wire::failure::Kind::WrongState);
        assert!(ended || matches!(answer, Answer::Done(_)), "{answer:?}");
    }

    /// The vmm's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Closes the socket, as a hostd that dies does, and waits for the process to end.
    pub fn hang_up(&mut self) -> std::process::ExitStatus {
        self.socket = None;
        self.wait()
    }

    /// Waits for the process to end.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the vmm does not end");
    }
}

impl Drop for Vmm {
    fn drop(&mut self) {
        self.socket = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `save` wrote.
pub struct Snapshot {
    pub saved: wire::Saved,
    pub template: File,
    pub state: File,
    pub layers: Vec<(File, File)>,
}

impl Snapshot {
    /// The state's bytes.
    pub fn state_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut state = self.state.try_clone().unwrap();
        state.rewind().unwrap();
        state.read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// The same snapshot with another state.
    pub fn with_state(&self, bytes: &[u8]) -> Self {
        let mut state = tempfile::tempfile().unwrap();
        state.write_all(bytes).unwrap();
        Self {
            saved: self.saved.clone(),
            template: self.template.try_clone().unwrap(),
            state,
            layers: Vec::new(),
        }
    }
}

/// A disk's files.
pub enum Disk {
    ReadOnly(File),
    Writable {
        base: File,
        layer: Option<(File, File)>,
    },
}

impl Disk {
    fn to_wire(&self, fds: &mut Vec<OwnedFd>) -> wire::Disk {
        match self {
            Self::ReadOnly(base) => wire::Disk {
                base_fd: push(fds, base.try_clone().unwrap()),
                read_only: true,
                ..Default::default()
            },
            Self::Writable { base, layer } => wire::Disk {
                base_fd: push(fds, base.try_clone().unwrap()),
                overlay_fd: Some(push(fds, tempfile::tempfile().unwrap())),
                layer_fd: layer
                    .as_ref()
                    .map(|(data, _)| push(fds, data.try_clone().unwrap())),
                layer_bitmap_fd: layer
                    .as_ref()
                    .map(|(_, bitmap)| push(fds, bitmap.try_clone().unwrap())),
                ..Default::default()
            },
        }
    }
}

/// The vmm says no, with a reason.
#[track_caller]
pub fn assert_failure(answer: &Answer, kind: wire::failure::Kind) {
    match answer {
        Answer::Failure(failure) => {
            assert_eq!(failure.kind(), kind, "{}", failure.message);
            assert!(!failure.message.is_empty());
        }
        other => panic!("{other:?} is no failure"),
    }
}

/// Adds a descriptor to a packet and answers its position.
fn push(fds: &mut Vec<OwnedFd>, fd: impl Into<OwnedFd>) -> u32 {
    fds.push(fd.into());
    fds.len() as u32 - 1
}
