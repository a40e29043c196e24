//! What a vmm's memory is made of, from `/proc/PID/smaps`.

use std::fs::File;
use std::io::{self, BufRead, BufReader};

/// The kernel's mark of mappings that stay out of core dumps (MADV_DONTDUMP). The vmm sets it on guest memory and
/// on nothing else; the kernel's own mappings that have it hold no pages.
const GUEST_FLAG: &str = "dd";

/// Bytes, by whom they belong to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The vmm's own proportional set: everything but guest memory.
    pub own_pss: u64,
    /// Guest pages that only this process maps.
    pub guest_private: u64,
    /// Its share of guest pages that others map too.
    pub guest_shared: u64,
}

/// Reads the figures of a process. Blocks for as long as the kernel walks its page tables.
pub fn usage(pid: i32) -> io::Result<Usage> {
    parse(BufReader::new(File::open(format!("/proc/{pid}/smaps"))?))
}

/// One mapping's figures follow its first line; its flags come last.
fn parse(lines: impl BufRead) -> io::Result<Usage> {
    let mut usage = Usage::default();
    let (mut pss, mut private) = (0, 0);
    for line in lines.lines() {
        let line = line?;
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        match key {
            "Pss" => pss = kib(value),
            "Private_Clean" | "Private_Dirty" => private += kib(value),
            "VmFlags" => {
                if value.split_whitespace().any(|flag| flag == GUEST_FLAG) {
                    usage.guest_private += private;
                    // A private page is in the Pss with its whole size.
                    usage.guest_shared += pss.saturating_sub(private);
                } else {
                    usage.own_pss += pss;
                }
                (pss, private) = (0, 0);
            }
            _ => {}
        }
    }
    Ok(usage)
}

/// `  123 kB` in bytes.
fn kib(value: &str) -> u64 {
    let number = value
        .trim()
        .strip_suffix(" kB")
        .and_then(|number| number.parse::<u64>().ok());
    number.unwrap_or(0).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_memory_is_told_from_the_rest() {
        let smaps = "\
55d0c0000000-55d0c0100000 r-xp 00000000 08:01 42                         /usr/bin/vmm
Pss:                 700 kB
Private_Clean:       100 kB
VmFlags: rd ex mr mw me
7f0000000000-7f0020000000 rw-p 00000000 00:01 1027                       /memfd:thaw-template (deleted)
Pss:                3000 kB
Private_Clean:         0 kB
Private_Dirty:      2000 kB
VmFlags: rd wr mr mw me dd
7f1000000000-7f1000021000 rw-p 00000000 00:00 0
Pss:                  50 kB
VmFlags: rd wr mr mw me
";
        let usage = parse(smaps.as_bytes()).unwrap();
        assert_eq!(
            usage,
            Usage {
                own_pss: 750 << 10,
                guest_private: 2000 << 10,
                guest_shared: 1000 << 10
            }
        );
    }

    #[test]
    fn our_own_figures_can_be_read() {
        assert!(usage(std::process::id() as i32).unwrap().own_pss > 0);
    }
}
