//! Reads memory figures from `/proc`. What cannot be read counts as 0: these are statistics.

use std::fs::read_to_string;

/// Proportional set size of a process (`self` or a number).
pub(super) fn pss_bytes(process: &str) -> u64 {
    field(&format!("/proc/{process}/smaps_rollup"), "Pss")
}

/// A line of `/proc/meminfo`.
pub(super) fn meminfo_bytes(name: &str) -> u64 {
    field("/proc/meminfo", name)
}

/// The value of `name: <number> kB`, in bytes.
fn field(file: &str, name: &str) -> u64 {
    let text = read_to_string(file).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or(0)
        .saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory() {
        assert!(pss_bytes("self") > 0);
        assert!(meminfo_bytes("MemTotal") > meminfo_bytes("MemAvailable"));
        assert_eq!(meminfo_bytes("Nothing"), 0);
    }
}
