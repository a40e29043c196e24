//! The wall clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};

use super::MachineError;

/// Steps the wall clock; answers by how many nanoseconds it went forward.
pub(super) fn step(to: SystemTime) -> Result<i64, MachineError> {
    let to = to.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let clock = ClockId::CLOCK_REALTIME;
    let from = clock_gettime(clock).map_err(MachineError::call("clock_gettime"))?;
    clock_settime(clock, TimeSpec::from(to)).map_err(MachineError::call("clock_settime"))?;
    Ok(nanos_between(Duration::from(from), to))
}

/// Saturates beyond 292 years.
fn nanos_between(from: Duration, to: Duration) -> i64 {
    let nanos = |duration: Duration| i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX);
    let difference = nanos(to) - nanos(from);
    i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_a_sign() {
        let (one, two) = (Duration::from_nanos(1), Duration::from_secs(2));
        assert_eq!(nanos_between(one, two), 1_999_999_999);
        assert_eq!(nanos_between(two, one), -1_999_999_999);
    }
}
