//! One vmm's life: what each request does and when it may come.
//!
//! ```text
//!           Boot, Restore           Resume              the guest ends by itself
//!   empty ────────────────▶ paused ◀────────▶ running ───────────────────────────▶ ended
//!                            Save     Pause                                       (paused for good)
//!   Stats, SetBalloon, SetNet: with a machine.  Stop, or a closed socket: from anywhere, ends the process.
//! ```
//!
//! The one thread that runs this also runs the devices, so while a request is served they stand still.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

use devices::virtio::net::NetCounters;
use protocol::vmm::v1 as wire;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use wire::reply::Reply as Answer;
use wire::request::Request as Ask;

use super::channel::{Channel, ChannelError, Incoming};
use super::failure::{HostError, RequestError};
use super::fds::Fds;
use crate::config::net::NetChange;
use crate::config::{BootConfig, RestoreConfig, SaveConfig};
use crate::jail::seccomp::Filters;
use crate::kvm;
use crate::machine::events::{GuestEvent, GuestEvents};
use crate::machine::timing::Stages;
use crate::machine::vcpus::IdleThread;
use crate::machine::{Machine, MachineError, Prepared, Threads};

/// Why the process ends before it is told to.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The control socket failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The kernel does not let us wait.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The process could not be locked up before the guest runs.
    #[error(transparent)]
    Jail(#[from] crate::jail::JailError),
}

/// A vmm between its start and its end.
pub struct Session {
    channel: Channel,
    state: State,
    events: GuestEvents,
    filters: Filters,
    epoll: Epoll,
    /// When pending notifications are due.
    settle_at: Option<Instant>,
}

/// How long a machine runs before its notifications are registered: its first answers are out by then.
const SETTLE_AFTER: Duration = Duration::from_millis(200);

enum State {
    /// Waiting for Boot or Restore. KVM may be unusable: whoever asks is told so.
    Empty(Box<Result<Prepared, kvm::Error>>, IdleThread),
    /// A machine that stands still.
    Paused(Box<Machine>),
    /// A machine that runs.
    Running(Box<Machine>),
    /// A machine whose guest has ended.
    Ended(Box<Machine>),
    /// A machine was wanted and could not be had.
    Failed,
}

/// What happens after a request.
enum Next {
    GoOn,
    End,
}

impl Session {
    /// A session that waits for its first request.
    ///
    /// # Errors
    ///
    /// When the kernel gives no descriptor.
    pub fn new(
        channel: Channel,
        prepared: Result<Prepared, kvm::Error>,
        first_thread: IdleThread,
        filters: Filters,
    ) -> Result<Self, SessionError> {
        let events = GuestEvents::new().map_err(host("make an eventfd"))?;
        let epoll = Epoll::new().map_err(host("make an epoll set"))?;
        watch(&epoll, channel.as_fd().as_raw_fd(), REQUEST)?;
        watch(&epoll, events.as_raw_fd(), GUEST_EVENT)?;
        Ok(Self {
            channel,
            state: State::Empty(Box::new(prepared), first_thread),
            events,
            filters,
            epoll,
            settle_at: None,
        })
    }

    /// Serves requests, runs devices and passes events on, until told to stop or hostd is gone.
    ///
    /// # Errors
    ///
    /// When the socket or the kernel fails.
    pub fn run(mut self) -> Result<(), SessionError> {
        let mut ready = [EpollEvent::default(); 3];
        loop {
            let timeout = self.settle();
            let count = match self.epoll.wait(timeout, &mut ready) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                result => result.map_err(host("wait"))?,
            };
            for event in ready.iter().take(count) {
                if let Next::End = self.handle(event.data())? {
                    return Ok(());
                }
            }
        }
    }

    /// Registers a notification if it is time to. Answers how many milliseconds to wait for events before
    /// asking again, -1 for ever.
    fn settle(&mut self) -> i32 {
        let State::Running(machine) = &self.state else {
            return -1;
        };
        let notifications = machine.devices().notifications();
        if !notifications.has_pending() {
            self.settle_at = None;
            return -1;
        }
        let now = Instant::now();
        let due = *self.settle_at.get_or_insert(now + SETTLE_AFTER);
        if now < due {
            return SETTLE_AFTER.as_millis() as i32;
        }
        // One at a time: requests and devices come first.
        notifications.register_next();
        0
    }

    fn handle(&mut self, token: u64) -> Result<Next, SessionError> {
        match token {
            REQUEST => return self.serve_next(),
            GUEST_EVENT => {
                if let Some(event) = self.events.take() {
                    self.guest_ended(event)?;
                }
            }
            _ => {
                if let State::Running(machine) = &self.state {
                    let dispatched = machine.devices().events().dispatch(0);
                    dispatched.map_err(host("wait for devices"))?;
                }
            }
        }
        Ok(Next::GoOn)
    }

    fn serve_next(&mut self) -> Result<Next, SessionError> {
        let (id, answer, next) = match self.channel.receive()? {
            Incoming::Closed => return Ok(Next::End),
            Incoming::Garbage(reason) => (0, Err(RequestError::Garbage(reason)), Next::GoOn),
            Incoming::Request(request, mut fds) => {
                let next = match request.request {
                    Some(Ask::Stop(_)) => Next::End,
                    _ => Next::GoOn,
                };
                (request.id, self.serve(request.request, &mut fds), next)
            }
        };
        let answer = answer.unwrap_or_else(|error| Answer::Failure(error.to_wire()));
        self.channel.send(&wire::Reply {
            id,
            reply: Some(answer),
        })?;
        Ok(next)
    }

    fn serve(&mut self, request: Option<Ask>, fds: &mut Fds) -> Result<Answer, RequestError> {
        match request {
            None => Err(RequestError::Garbage("nothing is asked for".into())),
            Some(Ask::Boot(boot)) => self.boot(boot, fds),
            Some(Ask::Restore(restore)) => self.restore(restore, fds),
            Some(Ask::Pause(_)) => self.pause(),
            Some(Ask::Resume(_)) => self.resume(),
            Some(Ask::Save(save)) => self.save(save, fds),
            Some(Ask::Stats(_)) => self.stats(),
            Some(Ask::SetBalloon(balloon)) => self.set_balloon(balloon.bytes),
            Some(Ask::SetNet(net)) => self.set_net(net),
            Some(Ask::Stop(_)) => Ok(done()),
        }
    }

    fn boot(&mut self, boot: wire::Boot, fds: &mut Fds) -> Result<Answer, RequestError> {
        let config = BootConfig::parse(boot, fds).map_err(RequestError::from);
        self.build("Boot", config, Machine::boot)
    }

    fn restore(&mut self, restore: wire::Restore, fds: &mut Fds) -> Result<Answer, RequestError> {
        let config = RestoreConfig::parse(restore, fds).map_err(RequestError::from);
        self.build("Restore", config, Machine::restore)
    }

    /// Builds the one machine of this process. A failure in the middle leaves no way back.
    fn build<C>(
        &mut self,
        request: &'static str,
        config: Result<C, RequestError>,
        build: impl FnOnce(Prepared, C, Threads<'_>, &mut Stages) -> Result<Machine, MachineError>,
    ) -> Result<Answer, RequestError> {
        let config = match &self.state {
            State::Empty(..) => config?,
            _ => {
                return Err(RequestError::WrongState {
                    request,
                    needs: "a vmm that has no machine yet",
                });
            }
        };
        let mut stages = Stages::start();
        let State::Empty(prepared, first) = std::mem::replace(&mut self.state, State::Failed)
        else {
            return Ok(done());
        };
        let prepared = prepared.map_err(MachineError::from)?;
        let threads = Threads {
            first,
            filter: &self.filters.vcpu,
            events: &self.events,
        };
        let machine = build(prepared, config, threads, &mut stages)?;
        // From here on nothing about the machine is set up any more.
        let built = self.filters.built.install();
        built.map_err(MachineError::Filter)?;
        stages.done("seccomp");
        self.state = State::Paused(Box::new(machine));
        Ok(timed(&stages))
    }

    fn pause(&mut self) -> Result<Answer, RequestError> {
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Running(machine) => {
                self.stop(&machine)?;
                self.state = State::Paused(machine);
                Ok(done())
            }
            other => self.refuse(other, "Pause", "a running machine"),
        }
    }

    fn resume(&mut self) -> Result<Answer, RequestError> {
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Paused(machine) => {
                let devices = machine.devices().events().as_raw_fd();
                watch(&self.epoll, devices, DEVICES)?;
                machine.resume();
                self.state = State::Running(machine);
                Ok(done())
            }
            other => self.refuse(other, "Resume", "a paused machine"),
        }
    }

    /// Stops vCPUs and devices.
    fn stop(&self, machine: &Machine) -> Result<(), HostError> {
        machine.pause();
        let devices = machine.devices().events().as_raw_fd();
        self.epoll
            .ctl(ControlOperation::Delete, devices, EpollEvent::default())
            .map_err(host("stop watching devices"))
    }

    fn refuse(
        &mut self,
        state: State,
        request: &'static str,
        needs: &'static str,
    ) -> Result<Answer, RequestError> {
        self.state = state;
        Err(RequestError::WrongState { request, needs })
    }

    fn save(&mut self, save: wire::Save, fds: &mut Fds) -> Result<Answer, RequestError> {
        let State::Paused(machine) = &self.state else {
            return Err(RequestError::WrongState {
                request: "Save",
                needs: "a paused machine",
            });
        };
        let started = Instant::now();
        let config = SaveConfig::parse(save, machine.shape().writable_disks(), fds)?;
        let saved = machine.save(&config)?;
        Ok(Answer::Saved(wire::Saved {
            memory_bytes: saved.memory.memory_bytes,
            stored_bytes: saved.memory.stored_bytes,
            zero_bytes: saved.memory.zero_bytes,
            cpu_features: saved.cpu_features,
            cpu_vendor: saved.cpu_vendor,
            nanos: nanos(started.elapsed()),
        }))
    }

    fn stats(&self) -> Result<Answer, RequestError> {
        let machine = self.machine("Stats")?;
        let counters: BTreeMap<String, u64> = machine.kvm_counters()?;
        Ok(Answer::Stats(wire::StatsReply {
            exits: counters.get("exits").copied().unwrap_or(0),
            kvm: counters.into_iter().collect(),
            balloon_bytes: machine.devices().balloon_bytes(),
            net: machine
                .devices()
                .net()
                .map(|card| net_stats(card.counters())),
        }))
    }

    fn set_balloon(&self, bytes: u64) -> Result<Answer, RequestError> {
        self.machine("SetBalloon")?.set_balloon(bytes)?;
        Ok(done())
    }

    fn set_net(&self, change: wire::SetNet) -> Result<Answer, RequestError> {
        let machine = self.machine("SetNet")?;
        machine.set_net(&NetChange::parse(change)?)?;
        Ok(done())
    }

    fn machine(&self, request: &'static str) -> Result<&Machine, RequestError> {
        match &self.state {
            State::Paused(machine) | State::Running(machine) | State::Ended(machine) => Ok(machine),
            State::Empty(..) | State::Failed => Err(RequestError::WrongState {
                request,
                needs: "a machine",
            }),
        }
    }

    fn guest_ended(&mut self, event: GuestEvent) -> Result<(), SessionError> {
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Running(machine) => {
                self.stop(&machine)?;
                self.state = State::Ended(machine);
            }
            other => self.state = other,
        }
        use wire::event::Kind;
        let (kind, message) = match event {
            GuestEvent::PoweredOff => (Kind::PoweredOff, String::new()),
            GuestEvent::Reset => (Kind::Reset, String::new()),
            GuestEvent::Failed(message) => (Kind::Failed, message),
        };
        let event = wire::Event {
            kind: kind.into(),
            message,
        };
        self.channel.send(&wire::Reply {
            id: 0,
            reply: Some(Answer::Event(event)),
        })?;
        Ok(())
    }
}

/// What the epoll set says is ready. Devices are only in it while the machine runs.
const REQUEST: u64 = 0;
const GUEST_EVENT: u64 = 1;
const DEVICES: u64 = 2;

fn watch(epoll: &Epoll, fd: RawFd, token: u64) -> Result<(), HostError> {
    epoll
        .ctl(
            ControlOperation::Add,
            fd,
            EpollEvent::new(EventSet::IN, token),
        )
        .map_err(host("watch a descriptor"))
}

fn host(action: &'static str) -> impl FnOnce(io::Error) -> HostError {
    move |source| HostError { action, source }
}

fn done() -> Answer {
    Answer::Done(wire::Done {})
}

fn net_stats(counters: NetCounters) -> wire::NetStats {
    wire::NetStats {
        to_guest_frames: counters.to_guest_frames,
        to_guest_bytes: counters.to_guest_bytes,
        from_guest_frames: counters.from_guest_frames,
        from_guest_bytes: counters.from_guest_bytes,
        dropped_frames: counters.dropped_frames,
    }
}

fn timed(stages: &Stages) -> Answer {
    let stage = |(name, time): &(&'static str, Duration)| wire::timed::Stage {
        name: (*name).into(),
        nanos: nanos(*time),
    };
    Answer::Timed(wire::Timed {
        stages: stages.laps().iter().map(stage).collect(),
    })
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
