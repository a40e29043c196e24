//! How much memory there is.

use std::fs;

/// All of the host's memory in bytes; 0 when the kernel does not say.
pub fn total_bytes() -> u64 {
    meminfo("MemTotal").unwrap_or(0)
}

/// What could still be used without swapping, in bytes, if the kernel says.
pub fn available_bytes() -> Option<u64> {
    meminfo("MemAvailable")
}

/// The proportional set of this process in bytes.
pub fn own_pss_bytes() -> u64 {
    fs::read_to_string("/proc/self/smaps_rollup")
        .ok()
        .and_then(|text| kib_field(&text, "Pss"))
        .unwrap_or(0)
}

fn meminfo(key: &str) -> Option<u64> {
    kib_field(&fs::read_to_string("/proc/meminfo").ok()?, key)
}

/// `Key:   123 kB`, in bytes.
fn kib_field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let value = line.strip_prefix(key)?.strip_prefix(':')?;
        value
            .trim()
            .strip_suffix(" kB")?
            .parse::<u64>()
            .ok()?
            .checked_mul(1024)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says() {
        assert!(total_bytes() >= available_bytes().unwrap());
        assert!(own_pss_bytes() > 0);
        assert_eq!(kib_field("A:  1 kB\nAB: 2 kB\n", "AB"), Some(2048));
    }
}
