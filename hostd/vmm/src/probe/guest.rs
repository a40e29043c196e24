//! The guest that is timed: two loops in 32-bit protected mode.
#![expect(unsafe_code, reason = "the watchdog kicks a vCPU of another thread")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kvm_bindings::kvm_regs;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler};

use crate::boot::registers::protected_mode;
use crate::kvm::{self, Exit, Host, Kick, Vcpu};
use crate::machine::memory;

/// How long the counting loop may run.
const BUDGET: Duration = Duration::from_millis(300);
/// After this the whole probe is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the watchdog repeats its kick.
const KICK_AGAIN: Duration = Duration::from_millis(10);
/// Exits that are timed, after some that are not.
const EXITS: usize = 200;
const WARM_UP: usize = 20;

const COUNT_AT: u64 = 0x1000;
/// Iterations between two exits, about half a millisecond natively.
const COUNT: u32 = 1_000_000;
const INSTRUCTIONS_PER_ITERATION: u64 = 2;
/// `mov ecx, COUNT; again: dec ecx; jnz again; out 0x10, al; jmp` to the start.
const COUNT_CODE: [u8; 12] = {
    let [a, b, c, d] = COUNT.to_le_bytes();
    [0xb9, a, b, c, d, 0x49, 0x75, 0xfd, 0xe6, 0x10, 0xeb, 0xf4]
};

const EXIT_AT: u64 = 0x2000;
/// `out 0x10, al; jmp` to the start.
const EXIT_CODE: [u8; 4] = [0xe6, 0x10, 0xeb, 0xfc];

/// What the guest achieved.
#[derive(Debug)]
pub struct Measured {
    /// In ring 0.
    pub instructions_per_second: u64,
    /// Median of one `OUT` to user space and back.
    pub exit_cost_ns: Option<u64>,
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// KVM said no.
    #[error(transparent)]
    Kvm(#[from] kvm::Error),
    /// No memory for the guest.
    #[error(transparent)]
    Memory(#[from] memory::MemoryError),
    /// The guest's code cannot be written.
    #[error("guest memory")]
    Code(#[from] vm_memory::GuestMemoryError),
    /// The guest did something else than counting.
    #[error("unexpected exit: {0}")]
    Exit(String),
    /// No signal handler.
    #[error("signal handler: {0}")]
    Signal(vmm_sys_util::errno::Error),
}

/// Ends the process with `last_words` if the probe takes far too long.
pub fn limit_patience(last_words: impl FnOnce() -> String + Send + 'static) {
    std::thread::spawn(move || {
        std::thread::sleep(PATIENCE);
        println!("{}", last_words());
        std::process::exit(0);
    });
}

/// Runs the guest.
///
/// # Errors
///
/// When it does not run.
pub fn measure(host: &Host) -> Result<Measured, ProbeError> {
    let memory = memory::anonymous(crate::machine::layout::MIB)?;
    memory.write_slice(&COUNT_CODE, GuestAddress(COUNT_AT))?;
    memory.write_slice(&EXIT_CODE, GuestAddress(EXIT_AT))?;
    let mut vcpu = prepare(host, &memory)?;
    let instructions_per_second = count(&mut vcpu)?;
    let exit_cost_ns = time_exits(&mut vcpu)?;
    Ok(Measured {
        instructions_per_second,
        exit_cost_ns,
    })
}

fn prepare(host: &Host, memory: &GuestMemoryMmap) -> Result<Vcpu, ProbeError> {
    let mut vm = host.create_vm()?;
    vm.create_irqchip()?;
    vm.set_memory(memory)?;
    let mut vcpu = vm.create_vcpu(0)?;
    vcpu.set_cpuid(host.supported_cpuid()?.as_slice())?;
    let mut sregs = vcpu.sregs()?;
    protected_mode(&mut sregs);
    vcpu.set_sregs(&sregs)?;
    Ok(vcpu)
}

fn start_at(vcpu: &Vcpu, address: u64) -> Result<(), kvm::Error> {
    vcpu.set_regs(&kvm_regs {
        rip: address,
        rflags: 2,
        ..Default::default()
    })
}

fn count(vcpu: &mut Vcpu) -> Result<u64, ProbeError> {
    start_at(vcpu, COUNT_AT)?;
    let watchdog = Watchdog::start(vcpu.kick())?;
    let started = Instant::now();
    let mut iterations = 0;
    while started.elapsed() < BUDGET {
        match vcpu.run() {
            Exit::PortWrite { .. } => iterations += u64::from(COUNT),
            Exit::Interrupted => break,
            other => return Err(ProbeError::Exit(format!("{other:?}"))),
        }
    }
    let elapsed = started.elapsed();
    drop(watchdog);
    // The loop that was not finished counts for what it got done. The upper half of a register is
    // undefined outside of 64-bit mode.
    let left = vcpu.regs()?.rcx as u32;
    iterations += u64::from(COUNT - left.min(COUNT)) * u64::from(left != 0);
    let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX).max(1);
    Ok(iterations.saturating_mul(INSTRUCTIONS_PER_ITERATION * 1_000_000_000) / nanos)
}

fn time_exits(vcpu: &mut Vcpu) -> Result<Option<u64>, ProbeError> {
    start_at(vcpu, EXIT_AT)?;
    let watchdog = Watchdog::start(vcpu.kick())?;
    let mut nanos = Vec::with_capacity(EXITS);
    for round in 0..WARM_UP + EXITS {
        let started = Instant::now();
        match vcpu.run() {
            Exit::PortWrite { .. } => {}
            Exit::Interrupted => break,
            other => return Err(ProbeError::Exit(format!("{other:?}"))),
        }
        if round >= WARM_UP {
            nanos.push(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
    }
    drop(watchdog);
    nanos.sort_unstable();
    Ok(nanos.get(nanos.len() / 2).copied())
}

/// Kicks the vCPU out of the guest when its time is up, and again until it has come out.
struct Watchdog {
    done: Arc<AtomicBool>,
    kick: Kick,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watchdog {
    fn start(kick: Kick) -> Result<Self, ProbeError> {
        register_signal_handler(SIGRTMIN(), ignore_signal).map_err(ProbeError::Signal)?;
        let done = Arc::new(AtomicBool::new(false));
        let finished = Arc::clone(&done);
        // SAFETY: it answers the calling thread's id and touches nothing.
        let target = unsafe { libc::pthread_self() };
        let thread = std::thread::spawn(move || {
            std::thread::park_timeout(BUDGET);
            while !finished.load(Ordering::SeqCst) {
                // SAFETY: the vCPU outlives the watchdog, which joins this thread when it is dropped.
                unsafe { kick.set(true) };
                // SAFETY: the target waits for this thread, so it exists; the signal has a handler.
                unsafe { libc::pthread_kill(target, SIGRTMIN()) };
                std::thread::park_timeout(KICK_AGAIN);
            }
        });
        Ok(Self {
            done,
            kick,
            thread: Some(thread),
        })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.done.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
        // SAFETY: the vCPU still exists: it is borrowed from the function that holds this.
        unsafe { self.kick.set(false) };
    }
}

/// The signal only has to make `KVM_RUN` return.
extern "C" fn ignore_signal(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
