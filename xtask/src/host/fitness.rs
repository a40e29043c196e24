//! Is this machine's own KVM of any use? The vmm measures it with a guest.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

/// Whether `vmm --probe` finds KVM fit. It ends by itself, whatever the guest does.
pub fn is_fit(vmm: &Path) -> bool {
    Path::new("/dev/kvm").exists()
        && Command::new(vmm)
            .arg("--probe")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()
            .and_then(|output| serde_json::from_slice::<Value>(&output.stdout).ok())
            .is_some_and(|report| report["kvm"] == "ok")
}
