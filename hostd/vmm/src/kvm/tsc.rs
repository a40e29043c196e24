//! The time stamp counters of a restored machine go on from where they were saved, all as one.
//!
//! The plain way to say so, an attribute of the vCPU, is missing in `kvm-ioctls`. The other way is to
//! write `IA32_TSC`, and KVM takes a host's write for an attempt to synchronise processors when the
//! value is within a second of what the machine's counter shows by now: then it drops the value and gives
//! the processor the offset that the others have. (Since Linux 6.7 the first write is taken at its word.)
//! A machine that was saved young and comes back into one that was made ahead of time meets exactly
//! that, and its counter would be wrong by up to a second.
//!
//! So the first processor is written twice: a value that is far from any that could be meant, and then
//! the right one, which is far from that. The others are written the same value right after: they are
//! to be taken as a synchronisation, and end up with the very same offset.

use kvm_bindings::kvm_msr_entry;

use super::{Error, Vcpu, VcpuState};

/// `IA32_TSC`.
pub(super) const IA32_TSC: u32 = 0x10;
/// How far two hosts' counters may differ and still count as equal: the kernel's own tolerance, 250 ppm.
const TOLERANCE_PPM: u64 = 250;

/// Restores the counters of all vCPUs, of which none has ever run. All of them must exist by now: making
/// one is a write as well.
///
/// # Errors
///
/// When KVM cannot run a counter at the saved frequency or refuses a value.
pub fn restore_tscs(vcpus: &[Vcpu], states: &[VcpuState]) -> Result<(), Error> {
    for (vcpu, state) in vcpus.iter().zip(states) {
        vcpu.keep_tsc_frequency(state.tsc_khz())?;
    }
    // They were saved one after the other, so the values differ although the counters did not.
    let Some(saved) = states.first().and_then(VcpuState::tsc) else {
        return Ok(());
    };
    writes(vcpus.len(), saved)
        .filter_map(|(at, value)| Some((vcpus.get(at)?, value)))
        .try_for_each(|(vcpu, value)| vcpu.set_tsc(value))
}

/// Which processor is written which value, in order.
fn writes(vcpus: usize, saved: u64) -> impl Iterator<Item = (usize, u64)> {
    // Zero would be a synchronisation whatever the counter shows.
    let saved = saved.max(1);
    // Half of all values away, in either direction: centuries.
    let far = saved ^ 1 << 63;
    std::iter::once((0, far)).chain((0..vcpus).map(move |vcpu| (vcpu, saved)))
}

impl Vcpu {
    fn set_tsc(&self, value: u64) -> Result<(), Error> {
        self.set_msrs(&[kvm_msr_entry {
            index: IA32_TSC,
            data: value,
            ..Default::default()
        }])
    }

    fn keep_tsc_frequency(&self, guest: u32) -> Result<(), Error> {
        let host = self
            .fd
            .get_tsc_khz()
            .map_err(Error::call("KVM_GET_TSC_KHZ"))?;
        let difference = u64::from(host.abs_diff(guest)) * 1_000_000;
        if difference <= u64::from(host) * TOLERANCE_PPM {
            return Ok(());
        }
        self.fd
            .set_tsc_khz(guest)
            .map_err(|_| Error::TscFrequency { guest, host })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: u64 = 2_000_000_000;
    /// Cycles between two writes.
    const PAUSE: u64 = 100_000;

    /// KVM's rule before Linux 6.7 for a host whose counter is stable, in cycles of the host.
    struct Machine {
        now: u64,
        last_write: u64,
        last_write_at: u64,
        common_offset: u64,
        offsets: [u64; 4],
    }

    impl Machine {
        /// Made so many cycles ago, with counters that began at 0.
        fn aged(age: u64) -> Self {
            Self {
                now: age,
                last_write: 0,
                last_write_at: 0,
                common_offset: 0,
                offsets: [0; 4],
            }
        }

        fn write(&mut self, vcpu: usize, value: u64) {
            self.now += PAUSE;
            let expected = self.last_write.wrapping_add(self.now - self.last_write_at);
            let close = value < expected.wrapping_add(HZ) && value.wrapping_add(HZ) > expected;
            if value != 0 && !close {
                self.common_offset = value.wrapping_sub(self.now);
            }
            self.offsets[vcpu] = self.common_offset;
            (self.last_write, self.last_write_at) = (value, self.now);
        }

        fn counters(&self) -> [u64; 4] {
            self.offsets.map(|offset| self.now.wrapping_add(offset))
        }
    }

    #[test]
    fn all_counters_go_on_together_from_any_value() {
        for age in [0, HZ / 2, HZ, 1000 * HZ] {
            let values = [
                0,
                1,
                HZ / 3,
                HZ,
                age,
                age + HZ / 2,
                1 << 62,
                1 << 63,
                3 << 62,
            ];
            for saved in values {
                let mut machine = Machine::aged(age);
                writes(4, saved).for_each(|(vcpu, value)| machine.write(vcpu, value));
                // Written first before three others.
                let expected = saved.max(1).wrapping_add(3 * PAUSE);
                assert_eq!(machine.counters(), [expected; 4], "{saved} at {age}");
            }
        }
    }

    #[test]
    fn a_plain_write_would_be_dropped() {
        let mut machine = Machine::aged(HZ / 2);
        machine.write(0, HZ);
        assert_eq!(machine.counters()[0], HZ / 2 + PAUSE);
    }
}
