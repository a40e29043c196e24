//! Which system calls each thread may make. Anything else kills the process.
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

use super::{JailError, rules};

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
        let vcpu = [rules::COMMON, rules::VCPU].concat();
        let device = [rules::COMMON, rules::VCPU, rules::DEVICE].concat();
        let running = [rules::IOCTLS, rules::SETUP_IOCTLS].concat();
        Ok(Self {
            vcpu: allow(&vcpu, rules::IOCTLS, &action)?,
            device: allow(&device, &running, &action)?,
            built: forbid_ioctls(rules::SETUP_IOCTLS, &action)?,
        })
    }
}

/// A filter that allows these calls, and of `ioctl` these requests.
fn allow(calls: &[i64], ioctls: &[u64], otherwise: &SeccompAction) -> Result<Filter, JailError> {
    let mut table = BTreeMap::new();
    for &call in calls {
        table.insert(call, Vec::new());
    }
    for (call, argument, values) in rules::ARGUMENTS {
        if table.contains_key(call) {
            table.insert(*call, argument_is_one_of(*argument, values)?);
        }
    }
    table.insert(libc::SYS_ioctl, argument_is_one_of(IOCTL_REQUEST, ioctls)?);
    let mut program = no_path_exists().to_vec();
    program.extend(compile(table, otherwise.clone(), SeccompAction::Allow)?);
    Ok(Filter(Some(Arc::new(program))))
}

/// The start of a filter by which opening a path fails with `ENOENT` instead of being a violation.
///
/// The C library opens paths on its own account: its allocator reads the overcommit policy before it
/// shrinks a heap, and does without when there is none.
fn no_path_exists() -> [sock_filter; 5] {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let statement = |code, k| sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    };
    let jump = |call: i64, jt, jf| sock_filter {
        code: JUMP_IF_EQUAL,
        jt,
        jf,
        k: call as u32,
    };
    // Calls of another architecture that have these numbers end in the same answer.
    [
        statement(LOAD, std::mem::offset_of!(libc::seccomp_data, nr) as u32),
        jump(libc::SYS_openat, 2, 0),
        jump(libc::SYS_open, 1, 0),
        statement(JUMP, 1),
        statement(RETURN, libc::SECCOMP_RET_ERRNO | libc::ENOENT as u32),
    ]
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

/// One rule for each value.
fn argument_is_one_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, JailError> {
    let rule = |value: &u64| {
        let (len, equal) = (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq);
        SeccompRule::new(vec![SeccompCondition::new(argument, len, equal, *value)?])
    };
    values
        .iter()
        .map(|value| rule(value).map_err(JailError::Compile))
        .collect()
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
mod tests {
    use super::*;

    #[test]
    fn the_rules_compile() {
        Filters::compile(OnViolation::Kill).unwrap();
    }

    #[test]
    fn no_path_can_be_opened_and_trying_is_no_violation() {
        let filters = Filters::compile(OnViolation::Kill).unwrap();
        for filter in [filters.vcpu, filters.device] {
            let tried = std::thread::spawn(move || {
                super::super::identity::seal().unwrap();
                filter.install().unwrap();
                std::fs::File::open("/proc/self/status").map_err(|error| error.kind())
            });
            let answer = tried.join().unwrap();
            assert_eq!(answer.err(), Some(std::io::ErrorKind::NotFound));
        }
    }
}
