//! The vCPU threads.
//!
//! ```text
//!           spawn               resume                    pause: flag + signal
//!   ──────────────▶ parked ─────────────────▶ running ─────────────────────────▶ parked
//!                     │ stop                     │ the guest has ended                │ stop
//!                     ▼                          ▼                                    ▼
//!                   ended ◀── stop ────────── parked for good                       ended
//! ```
//!
//! **Invariant:** a thread parks only after `KVM_RUN` has returned "interrupted", which means that
//! KVM has nothing half done, so a parked vCPU's state is complete.
#![expect(unsafe_code, reason = "signals and the kick flag of another thread")]

use std::io;
use std::os::unix::thread::JoinHandleExt;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use devices::Bus;
use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler};

use super::events::{GuestEvent, GuestEvents};
use crate::jail::JailError;
use crate::jail::seccomp::Filter;
use crate::kvm::{Error, Exit, Kick, Vcpu, VcpuState};

/// A vCPU thread formats no text and recurses nowhere: 256 KiB is plenty, and too little for the
/// kernel to back it with a huge page.
const STACK_BYTES: usize = 256 << 10;
/// A kick cannot get lost; asking again is for a host that is slow, not for correctness.
const KICK_AGAIN: Duration = Duration::from_millis(100);

/// Where a vCPU's port and memory-mapped accesses go.
#[derive(Clone)]
pub struct Buses {
    /// Ports.
    pub ports: Arc<Bus>,
    /// Memory-mapped registers.
    pub mmio: Arc<Bus>,
}

/// All vCPUs of a machine with their threads.
#[derive(Debug)]
pub struct Vcpus {
    threads: Vec<VcpuThread>,
    gate: Arc<Gate>,
}

#[derive(Debug)]
struct VcpuThread {
    vcpu: Arc<Mutex<Vcpu>>,
    kick: Kick,
    handle: Option<JoinHandle<()>>,
}

impl Vcpus {
    /// Gives each vCPU a thread, the first one a thread that is there already. All are parked.
    ///
    /// # Errors
    ///
    /// When a thread cannot be had.
    pub fn spawn(
        vcpus: Vec<Vcpu>,
        first_thread: IdleThread,
        buses: &Buses,
        events: &GuestEvents,
        filter: &Filter,
    ) -> io::Result<Self> {
        let mut all = Self {
            threads: Vec::with_capacity(vcpus.len()),
            gate: Arc::default(),
        };
        let mut first_thread = Some(first_thread);
        for mut vcpu in vcpus {
            let kick = vcpu.kick();
            let vcpu = Arc::new(Mutex::new(vcpu));
            let worker = Worker {
                vcpu: Arc::clone(&vcpu),
                gate: Arc::clone(&all.gate),
                buses: buses.clone(),
                events: events.clone(),
            };
            let thread = match first_thread.take() {
                Some(thread) => thread,
                None => IdleThread::spawn(filter)?,
            };
            all.threads.push(VcpuThread {
                vcpu,
                kick,
                handle: Some(thread.start(worker)?),
            });
        }
        Ok(all)
    }

    /// Lets parked vCPUs run.
    pub fn resume(&self) {
        for thread in &self.threads {
            lock(&thread.vcpu).mark_stopped();
            // SAFETY: the vCPU lives as long as this struct.
            unsafe { thread.kick.set(false) };
        }
        self.gate.set(Target::Run);
    }

    /// Stops all vCPUs and waits until they are parked.
    pub fn pause(&self) {
        self.gate.set(Target::Park);
        self.kick_all();
        while !self.gate.wait_parked(self.threads.len(), KICK_AGAIN) {
            self.kick_all();
        }
    }

    /// Saves every vCPU. They must be paused, or never have run.
    ///
    /// # Errors
    ///
    /// When KVM refuses.
    pub fn save(&self, msr_indices: &[u32]) -> Result<Vec<VcpuState>, Error> {
        self.threads
            .iter()
            .map(|thread| lock(&thread.vcpu).save(msr_indices))
            .collect()
    }

    fn kick_all(&self) {
        for thread in &self.threads {
            // SAFETY: the vCPU lives as long as this struct.
            unsafe { thread.kick.set(true) };
            if let Some(handle) = &thread.handle {
                // SAFETY: the thread has not been joined, so its id is valid, and the signal has a handler.
                unsafe { libc::pthread_kill(handle.as_pthread_t(), SIGRTMIN()) };
            }
        }
    }
}

impl Drop for Vcpus {
    fn drop(&mut self) {
        self.gate.set(Target::Stop);
        self.kick_all();
        for thread in &mut self.threads {
            if let Some(handle) = thread.handle.take() {
                // It cannot have panicked: that would have ended the process.
                let _ = handle.join();
            }
        }
    }
}

/// A thread that has locked itself up and waits for its vCPU.
///
/// Starting one and compiling its filter takes the kernel longer than the rest of a restore, so
/// the first is made before anybody asks for a machine.
#[derive(Debug)]
pub struct IdleThread {
    work: Sender<Worker>,
    handle: JoinHandle<()>,
}

impl IdleThread {
    /// Starts a thread that installs `filter` before it does anything else.
    fn spawn(filter: &Filter) -> io::Result<Self> {
        let filter = filter.clone();
        let (work, inbox) = channel::<Worker>();
        let handle = std::thread::Builder::new()
            .name("vcpu".into())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let locked_up = filter.install();
                // Nobody ever asks for a machine: the process is about to end.
                let Ok(worker) = inbox.recv() else { return };
                worker.run(locked_up);
            })?;
        Ok(Self { work, handle })
    }

    /// The first thread of a process, for which kicks have to be prepared. Call before any filter is installed.
    ///
    /// # Errors
    ///
    /// When the thread or the signal handler cannot be had.
    pub fn prepare(filter: &Filter) -> io::Result<Self> {
        register_signal_handler(SIGRTMIN(), ignore_signal).map_err(io::Error::from)?;
        Self::spawn(filter)
    }

    fn start(self, worker: Worker) -> io::Result<JoinHandle<()>> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.work.send(worker).map_err(gone)?;
        Ok(self.handle)
    }
}

/// What all vCPU threads should do, and how many of them are parked.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    target: Target,
    parked: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Target {
    #[default]
    Park,
    Run,
    Stop,
}

impl Gate {
    fn set(&self, target: Target) {
        lock(&self.state).target = target;
        self.changed.notify_all();
    }

    fn should_run(&self) -> bool {
        lock(&self.state).target == Target::Run
    }

    /// Parks the calling thread until one of `targets` is wanted.
    fn park(&self, until: &[Target]) -> Target {
        let mut state = lock(&self.state);
        state.parked += 1;
        self.changed.notify_all();
        while !until.contains(&state.target) {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.parked -= 1;
        state.target
    }

    /// Waits until `count` threads are parked; false when that takes longer than `limit`.
    fn wait_parked(&self, count: usize, limit: Duration) -> bool {
        let state = lock(&self.state);
        let (state, _) = self
            .changed
            .wait_timeout_while(state, limit, |state| state.parked < count)
            .unwrap_or_else(PoisonError::into_inner);
        state.parked >= count
    }
}

/// What one thread has.
struct Worker {
    vcpu: Arc<Mutex<Vcpu>>,
    gate: Arc<Gate>,
    buses: Buses,
    events: GuestEvents,
}

impl Worker {
    fn run(self, locked_up: Result<(), JailError>) {
        if let Err(error) = locked_up {
            self.events.report(GuestEvent::Failed(error.to_string()));
            self.gate.park(&[Target::Stop]);
            return;
        }
        while self.gate.park(&[Target::Run, Target::Stop]) == Target::Run {
            if let Some(event) = self.run_guest() {
                self.events.report(event);
                self.gate.park(&[Target::Stop]);
                return;
            }
        }
    }

    /// Runs the guest until it is to park (`None`) or has ended.
    fn run_guest(&self) -> Option<GuestEvent> {
        let mut vcpu = lock(&self.vcpu);
        loop {
            match vcpu.run() {
                Exit::MmioRead { address, data } => {
                    data.fill(0xff);
                    // What nobody answers reads as ones, as on a real bus; here and below.
                    let _ = self.buses.mmio.read(address, data);
                }
                Exit::MmioWrite { address, data } => {
                    let _ = self.buses.mmio.write(address, data);
                }
                Exit::PortRead { port, data } => {
                    data.fill(0xff);
                    let _ = self.buses.ports.read(u64::from(port), data);
                }
                Exit::PortWrite { port, data } => {
                    let _ = self.buses.ports.write(u64::from(port), data);
                }
                Exit::Interrupted if self.gate.should_run() => {}
                Exit::Interrupted => return None,
                Exit::Shutdown => return Some(GuestEvent::Reset),
                Exit::Halt => return Some(GuestEvent::Failed("halted for ever".into())),
                Exit::Broken(broken) => return Some(GuestEvent::Failed(broken.to_string())),
            }
        }
    }
}

/// The signal only has to make `KVM_RUN` return.
extern "C" fn ignore_signal(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is ever poisoned: a panic ends the process.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
