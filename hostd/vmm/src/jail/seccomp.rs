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
    SeccompRule, TargetArch, apply_filter,
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
    compile(table, otherwise.clone(), SeccompAction::Allow)
}

/// A filter that allows everything but these requests of `ioctl`.
fn forbid_ioctls(ioctls: &[u64], action: &SeccompAction) -> Result<Filter, JailError> {
    let rules = argument_is_one_of(IOCTL_REQUEST, ioctls)?;
    let table = BTreeMap::from([(libc::SYS_ioctl, rules)]);
    compile(table, SeccompAction::Allow, action.clone())
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
) -> Result<Filter, JailError> {
    let filter = SeccompFilter::new(table, otherwise, matched, TargetArch::x86_64);
    let program = filter
        .and_then(BpfProgram::try_from)
        .map_err(JailError::Compile)?;
    Ok(Filter(Some(Arc::new(program))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_compile() {
        Filters::compile(OnViolation::Kill).unwrap();
    }
}
