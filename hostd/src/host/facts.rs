//! What the host is.

use std::fs;

/// Facts that do not change while hostd runs.
#[derive(Clone, Debug)]
pub struct Facts {
    /// As `uname -r`.
    pub kernel_release: String,
    /// Logical CPUs.
    pub cpus: u32,
    /// In bytes.
    pub memory_bytes: u64,
    /// As in /proc/cpuinfo.
    pub cpu_model: String,
}

impl Facts {
    /// Asks the kernel.
    pub fn read() -> Self {
        Self {
            kernel_release: kernel_release(),
            cpus: std::thread::available_parallelism()
                .map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX)),
            memory_bytes: super::memory::total_bytes(),
            cpu_model: cpu_model().unwrap_or_else(|| "unknown".into()),
        }
    }
}

/// The release of the running kernel.
pub fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".into(), |text| text.trim().to_owned())
}

fn cpu_model() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
