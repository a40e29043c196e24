//! The fake vmm's process: a loop over requests.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, Shutdown, recvmsg, sendmsg, shutdown};
use prost::Message;
use protocol::vmm::v1::{
    self as wire, Done, Event, Failure, MachineConfig, Reply, Request, Saved, StatsReply, Timed,
    event, failure, reply, request, timed,
};
use snapshots::disk::{LayerFiles, LayeredDisk};
use snapshots::memory::{MemorySource, WriteOptions, write_memory};
use snapshots::state::{read_state, write_state};

use super::Trouble;
use super::guest::Guest;

/// Descriptors of one packet.
struct Fds(Vec<Option<OwnedFd>>);

impl Fds {
    fn file(&mut self, position: u32) -> File {
        self.0[position as usize].take().unwrap().into()
    }
}

/// Memory whose first page holds what the guest knows.
struct Memory {
    bytes: u64,
}

impl MemorySource for Memory {
    fn len(&self) -> u64 {
        self.bytes
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        buffer.fill(if offset == 0 { 7 } else { 0 });
        Ok(())
    }
}

#[derive(Default)]
struct Machine {
    memory_bytes: u64,
    disk: Option<LayeredDisk>,
    cmdline: String,
    guest: Option<Arc<Guest>>,
    running: bool,
}

pub fn run() {
    // SAFETY: the contract with hostd: descriptor 3 is ours.
    #[allow(unsafe_code)]
    let socket = unsafe { OwnedFd::from_raw_fd(3) };
    let mut machine = Machine::default();
    while let Some((request, mut fds)) = receive(&socket) {
        let stop = matches!(request.request, Some(request::Request::Stop(_)));
        let answer = answer(&mut machine, request.request.unwrap(), &mut fds, &socket);
        send(
            &socket,
            Reply {
                id: request.id,
                reply: Some(answer),
            },
        );
        if stop {
            return;
        }
    }
    let trouble = Trouble::of(&machine.cmdline);
    if matches!(trouble, Trouble::Lingers | Trouble::CutsOff) {
        loop {
            std::thread::park();
        }
    }
    std::process::exit(0);
}

fn answer(
    machine: &mut Machine,
    request: request::Request,
    fds: &mut Fds,
    socket: &OwnedFd,
) -> reply::Reply {
    match request {
        request::Request::Boot(boot) => {
            match Trouble::of(&boot.cmdline) {
                Trouble::DiesAtBoot => {
                    eprintln!("fake: no more");
                    std::process::exit(3)
                }
                Trouble::BadReply => send_raw(socket, b"\xff\xff\xff\xff"),
                _ => {}
            }
            machine.cmdline = boot.cmdline;
            machine.make(boot.machine.unwrap(), fds, socket, false);
            times()
        }
        request::Request::Restore(restore) => {
            let state = fds.file(restore.state_fd);
            let template = fds.file(restore.memory_fd);
            let Ok(payload) = read_state(&state) else {
                return refuse(failure::Kind::InvalidSnapshot, "state is damaged");
            };
            machine.cmdline = String::from_utf8(payload).unwrap();
            if machine.cmdline.contains("needs-cpu-in-state") {
                return refuse(failure::Kind::IncompatibleCpu, "the CPU lacks avx1024");
            }
            assert_eq!(
                template.metadata().unwrap().len(),
                restore.machine.as_ref().unwrap().memory_bytes
            );
            machine.make(restore.machine.unwrap(), fds, socket, true);
            times()
        }
        request::Request::Pause(_) => machine.run(false),
        request::Request::Resume(_) => machine.run(true),
        request::Request::Save(save) => machine.save(&save, fds),
        request::Request::Stats(_) => {
            let kvm = [("exits".to_owned(), 42)].into();
            reply::Reply::Stats(StatsReply {
                exits: 42,
                kvm,
                balloon_bytes: 0,
                net: None,
            })
        }
        request::Request::SetBalloon(_)
        | request::Request::SetNet(_)
        | request::Request::Stop(_) => reply::Reply::Done(Done {}),
    }
}

impl Machine {
    fn make(&mut self, config: MachineConfig, fds: &mut Fds, socket: &OwnedFd, restored: bool) {
        let [root, scratch] = config.disks.as_slice() else {
            panic!("{:?}", config.disks)
        };
        assert!(root.read_only && !scratch.read_only);
        let layer = scratch.layer_fd.map(|fd| LayerFiles {
            data: fds.file(fd),
            bitmap: fds.file(scratch.layer_bitmap_fd.unwrap()),
        });
        assert_eq!(layer.is_some(), restored);
        self.disk = Some(
            LayeredDisk::open(
                fds.file(scratch.base_fd),
                layer,
                fds.file(scratch.overlay_fd.unwrap()),
            )
            .unwrap(),
        );
        self.memory_bytes = config.memory_bytes;
        let mut console = fds.file(config.console_fd);
        console.write_all(b"fake kernel\n").unwrap();
        let listener = UnixListener::from(OwnedFd::from(fds.file(config.vsock_listener_fd)));
        let trouble = Trouble::of(&self.cmdline);
        let guest = Guest::start(listener, trouble, restored);
        self.guest = Some(guest.clone());
        let socket = socket.try_clone().unwrap();
        std::thread::spawn(move || misfortune(trouble, &guest, &mut console, &socket));
    }

    fn run(&mut self, running: bool) -> reply::Reply {
        assert_ne!(self.running, running, "hostd knows the state");
        if !running && Trouble::of(&self.cmdline) == Trouble::PauseFails {
            return refuse(failure::Kind::Host, "the vCPUs do not stop");
        }
        self.running = running;
        reply::Reply::Done(Done {})
    }

    fn save(&mut self, save: &wire::Save, fds: &mut Fds) -> reply::Reply {
        assert!(!self.running);
        assert!(
            self.guest.as_ref().unwrap().is_frozen(),
            "no snapshot of running processes"
        );
        if Trouble::of(&self.cmdline) == Trouble::SaveFails {
            return refuse(failure::Kind::Host, "no space");
        }
        let memory = Memory {
            bytes: self.memory_bytes,
        };
        let summary =
            write_memory(&fds.file(save.memory_fd), &memory, &WriteOptions::default()).unwrap();
        write_state(&fds.file(save.state_fd), self.cmdline.as_bytes()).unwrap();
        let (layer, bitmap) = (
            fds.file(save.layer_fds[0]),
            fds.file(save.layer_bitmap_fds[0]),
        );
        let disk = self.disk.as_ref().unwrap();
        disk.write_at(4096, b"written by the fake guest").unwrap();
        disk.save_layer(&layer, &bitmap).unwrap();
        let mut cpu_features = vec!["avx".to_owned(), "sse2".to_owned()];
        if self.cmdline.contains("needs-cpu-in-manifest") {
            cpu_features.insert(1, "avx1024".into());
        }
        reply::Reply::Saved(Saved {
            memory_bytes: summary.memory_bytes,
            stored_bytes: summary.stored_bytes,
            zero_bytes: summary.zero_bytes,
            cpu_features,
            cpu_vendor: "AuthenticFake".into(),
            nanos: 1,
        })
    }
}

/// What happens to the guest by itself, once it runs.
fn misfortune(trouble: Trouble, guest: &Guest, console: &mut File, socket: &OwnedFd) {
    let kind = match trouble {
        Trouble::Panics | Trouble::Resets => event::Kind::Reset,
        Trouble::PowersOff => event::Kind::PoweredOff,
        // No event, but the end of all.
        Trouble::CutsOff => event::Kind::Unspecified,
        _ => {
            // The console stays open as long as the guest runs.
            loop {
                std::thread::park();
            }
        }
    };
    while !guest.has_entered() {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(200));
    if trouble == Trouble::CutsOff {
        shutdown(socket.as_raw_fd(), Shutdown::Both).unwrap();
        return;
    }
    let words: &[u8] = match trouble {
        Trouble::Panics => b"[    1.0] Kernel panic - not syncing: fake\r\n",
        Trouble::Resets => b"thaw: the agent ended: \x1b[2Jfake\r\n[    1.0] reboot\r\n",
        _ => b"",
    };
    console.write_all(words).unwrap();
    let event = Event {
        kind: kind.into(),
        message: String::new(),
    };
    send(
        socket,
        Reply {
            id: 0,
            reply: Some(reply::Reply::Event(event)),
        },
    );
}

fn times() -> reply::Reply {
    reply::Reply::Timed(Timed {
        stages: vec![timed::Stage {
            name: "map".into(),
            nanos: 1000,
        }],
    })
}

fn refuse(kind: failure::Kind, message: &str) -> reply::Reply {
    reply::Reply::Failure(Failure {
        kind: kind.into(),
        message: message.into(),
    })
}

fn send(socket: &OwnedFd, reply: Reply) {
    send_raw(socket, &reply.encode_to_vec());
}

fn send_raw(socket: &OwnedFd, bytes: &[u8]) {
    // hostd may be gone.
    let _ = sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(bytes)],
        &[],
        MsgFlags::MSG_NOSIGNAL,
        None,
    );
}

fn receive(socket: &OwnedFd) -> Option<(Request, Fds)> {
    let mut bytes = vec![0; 128 << 10];
    let mut space = nix::cmsg_space!([RawFd; 32]);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )
    .ok()?;
    let mut fds = Vec::new();
    for control in message.cmsgs().unwrap() {
        if let ControlMessageOwned::ScmRights(rights) = control {
            // SAFETY: the kernel has just made these for us.
            #[allow(unsafe_code)]
            fds.extend(
                rights
                    .into_iter()
                    .map(|fd| Some(unsafe { OwnedFd::from_raw_fd(fd) })),
            );
        }
    }
    let length = message.bytes;
    if length == 0 {
        return None;
    }
    Some((Request::decode(&bytes[..length]).unwrap(), Fds(fds)))
}
