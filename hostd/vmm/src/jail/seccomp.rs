//! Which system calls each thread may make. A few others fail; anything else kills the process.
//!
//! ```text
//!   main thread    ── device filter ────────── built filter (no more setting up) ──▶ devices, requests
//!                        │ inherited by             │ inherited by
//!   other vCPUs          └─ + vcpu filter           └─ threads that compress a snapshot
//!   first vCPU     ── vcpu filter ──▶
//! ```
//!
//! The large filters are installed before anybody asks for a machine: the kernel takes longer to digest
//! one than to restore a machine. The one that is installed when the machine is built is short.

use std::collections::BTreeMap;
use std::sync::Arc;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter, sock_filter,
};

use super::JailError;
use super::rules::{self, Allowed};

/// What happens on a forbidden call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnViolation {
    /// The process dies.
    Kill,
    /// The kernel logs it and goes on: for finding out what is missing.
    Log,
    /// No filter at all.
    Ignore,
}

/// A compiled filter.
#[derive(Clone, Debug)]
pub struct Filter(Option<Arc<BpfProgram>>);

impl Filter {
    /// Installs the filter for the calling thread and those that it will start.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn install(&self) -> Result<(), JailError> {
        match &self.0 {
            Some(program) => apply_filter(program).map_err(JailError::Install),
            None => Ok(()),
        }
    }
}

/// The filters of a vmm.
#[derive(Clone, Debug)]
pub struct Filters {
    /// For each vCPU thread.
    pub vcpu: Filter,
    /// For the thread that runs devices and serves requests, from its start.
    pub device: Filter,
    /// For the same thread, once the machine is built.
    pub built: Filter,
}

impl Filters {
    /// Compiles them all.
    ///
    /// # Errors
    ///
    /// When the rules contradict each other: a mistake in this file.
    pub fn compile(on_violation: OnViolation) -> Result<Self, JailError> {
        let action = match on_violation {
            OnViolation::Kill => SeccompAction::KillProcess,
            OnViolation::Log => SeccompAction::Log,
            OnViolation::Ignore => {
                return Ok(Self {
                    vcpu: Filter(None),
                    device: Filter(None),
                    built: Filter(None),
                });
            }
        };
        Self::with_action(&action)
    }

    fn with_action(action: &SeccompAction) -> Result<Self, JailError> {
        let vcpu = [rules::COMMON, rules::VCPU].concat();
        let device = [rules::COMMON, rules::VCPU, rules::DEVICE].concat();
        let running = [rules::IOCTLS, rules::DEVICE_IOCTLS, rules::SETUP_IOCTLS].concat();
        Ok(Self {
            vcpu: allow(&vcpu, rules::IOCTLS, action)?,
            device: allow(&device, &running, action)?,
            built: forbid_ioctls(rules::SETUP_IOCTLS, action)?,
        })
    }
}

/// A filter that allows these calls, and of `ioctl` these requests.
fn allow(calls: &[i64], ioctls: &[u64], otherwise: &SeccompAction) -> Result<Filter, JailError> {
    let mut table = BTreeMap::new();
    for &call in calls {
        table.insert(call, Vec::new());
    }
    for (call, argument, allowed) in rules::ARGUMENTS {
        if table.contains_key(call) {
            table.insert(*call, argument_is(*argument, *allowed)?);
        }
    }
    table.insert(libc::SYS_ioctl, argument_is_one_of(IOCTL_REQUEST, ioctls)?);
    let mut program = answer(rules::ANSWERS);
    program.extend(compile(table, otherwise.clone(), SeccompAction::Allow)?);
    Ok(Filter(Some(Arc::new(program))))
}

/// The start of a filter by which these calls fail with these errors.
///
/// Calls of another architecture that have the same numbers end in the same answers.
fn answer(answers: &[(i64, i32)]) -> BpfProgram {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    // `jf`: how many instructions are left out when a comparison fails.
    let instruction = |code, jf, k| sock_filter { code, jt: 0, jf, k };
    let number = std::mem::offset_of!(libc::seccomp_data, nr) as u32;
    let mut program = vec![instruction(LOAD, 0, number)];
    for &(call, errno) in answers {
        let failure = libc::SECCOMP_RET_ERRNO | errno as u32;
        program.push(instruction(JUMP_IF_EQUAL, 1, call as u32));
        program.push(instruction(RETURN, 0, failure));
    }
    program
}

/// A filter that allows everything but these requests of `ioctl`.
fn forbid_ioctls(ioctls: &[u64], action: &SeccompAction) -> Result<Filter, JailError> {
    let rules = argument_is_one_of(IOCTL_REQUEST, ioctls)?;
    let table = BTreeMap::from([(libc::SYS_ioctl, rules)]);
    let program = compile(table, SeccompAction::Allow, action.clone())?;
    Ok(Filter(Some(Arc::new(program))))
}

/// Position of the request among the arguments of `ioctl`.
const IOCTL_REQUEST: u8 = 1;

/// Rules for what an argument may be.
fn argument_is(argument: u8, allowed: Allowed) -> Result<Vec<SeccompRule>, JailError> {
    match allowed {
        Allowed::OneOf(values) => argument_is_one_of(argument, values),
        Allowed::Bits(bits) => Ok(vec![rule(argument, SeccompCmpOp::MaskedEq(bits), bits)?]),
        Allowed::OwnProcess => argument_is_one_of(argument, &[u64::from(std::process::id())]),
    }
}

/// One rule for each value.
fn argument_is_one_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, JailError> {
    let rules = values.iter();
    rules
        .map(|value| rule(argument, SeccompCmpOp::Eq, *value))
        .collect()
}

fn rule(argument: u8, compare: SeccompCmpOp, value: u64) -> Result<SeccompRule, JailError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compare, value)
        .and_then(|condition| SeccompRule::new(vec![condition]))
        .map_err(JailError::Compile)
}

fn compile(
    table: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, JailError> {
    let filter = SeccompFilter::new(table, otherwise, matched, TargetArch::x86_64);
    filter
        .and_then(BpfProgram::try_from)
        .map_err(JailError::Compile)
}

#[cfg(test)]
#[expect(unsafe_code, reason = "the calls that are tried have no safe wrapper")]
mod tests {
    use std::io;

    use nix::errno::Errno;

    use super::*;

    /// What `attempt` answers in a thread with a filter of which a violation is an error, not the end.
    fn in_jail<T: Send + 'static>(
        filter: fn(Filters) -> Filter,
        attempt: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let filters = Filters::with_action(&SeccompAction::Errno(libc::EPERM as u32)).unwrap();
        let thread = std::thread::spawn(move || {
            super::super::identity::seal().unwrap();
            filter(filters).install().unwrap();
            attempt()
        });
        thread.join().unwrap()
    }

    fn call(number: i64, arguments: [i64; 3]) -> Result<i64, Errno> {
        let [a, b, c] = arguments;
        // SAFETY: the calls that are tried below get no pointers.
        Errno::result(unsafe { libc::syscall(number, a, b, c) })
    }

    #[test]
    fn no_path_can_be_opened_and_trying_is_no_violation() {
        for filter in [|all: Filters| all.vcpu, |all: Filters| all.device] {
            let opened = in_jail(filter, || std::fs::File::open("/proc/self/status"));
            assert_eq!(opened.unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn threads_can_be_started_and_processes_cannot() {
        let thread = in_jail(
            |all| all.device,
            || std::thread::spawn(|| 7).join().unwrap(),
        );
        assert_eq!(thread, 7);
        let process = || call(libc::SYS_clone, [libc::SIGCHLD.into(), 0, 0]);
        assert_eq!(in_jail(|all| all.device, process), Err(Errno::EPERM));
        let newer = || call(libc::SYS_clone3, [0, 0, 0]);
        assert_eq!(in_jail(|all| all.device, newer), Err(Errno::ENOSYS));
    }

    #[test]
    fn only_the_device_thread_touches_a_tap() {
        let request = |filter: fn(Filters) -> Filter, request: u32| {
            in_jail(filter, move || {
                call(libc::SYS_ioctl, [-1, request.into(), 0])
            })
        };
        let (device, vcpu, built) = (
            |all: Filters| all.device,
            |all: Filters| all.vcpu,
            |all: Filters| all.built,
        );
        let offloads = libc::TUNSETOFFLOAD as u32;
        assert_eq!(request(device, offloads), Err(Errno::EBADF));
        assert_eq!(request(built, offloads), Err(Errno::EBADF));
        assert_eq!(request(vcpu, offloads), Err(Errno::EPERM));
        let look = libc::TUNGETIFF as u32;
        assert_eq!(request(device, look), Err(Errno::EBADF));
        assert_eq!(request(built, look), Err(Errno::EPERM));
        let attach = libc::TUNSETIFF as u32;
        assert_eq!(request(device, attach), Err(Errno::EPERM));
    }

    #[test]
    fn nobody_else_can_be_signalled() {
        let signal = |process: u32| {
            in_jail(
                |all| all.device,
                move || {
                    let thread = nix::unistd::gettid().as_raw();
                    call(libc::SYS_tgkill, [process.into(), thread.into(), 0])
                },
            )
        };
        assert_eq!(signal(std::process::id()), Ok(0));
        assert_eq!(signal(std::process::id() + 1), Err(Errno::EPERM));
    }

    #[test]
    fn descriptors_raise_no_signals() {
        for filter in [|all: Filters| all.vcpu, |all: Filters| all.device] {
            let command = |command: i32| {
                in_jail(filter, move || {
                    call(libc::SYS_fcntl, [2, command.into(), 0])
                })
            };
            assert!(command(libc::F_GETFL).is_ok());
            assert_eq!(command(libc::F_SETOWN), Err(Errno::EPERM));
        }
    }
}
