//! What the guest is told about its memory.

use crate::machine::layout;

/// A range of guest physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Where it begins.
    pub start: u64,
    /// How long it is.
    pub bytes: u64,
    /// Memory, or hands off.
    pub usable: bool,
}

/// The map for a machine with `memory_bytes`.
pub fn memory_map(memory_bytes: u64) -> Vec<Range> {
    let usable = |start, end: u64| Range {
        start,
        bytes: end - start,
        usable: true,
    };
    let reserved = |start, end: u64| Range {
        usable: false,
        ..usable(start, end)
    };
    let mut map = vec![
        usable(0, layout::LOW_MEMORY_END),
        reserved(layout::ACPI_TABLES, layout::ACPI_TABLES_END),
    ];
    for (start, bytes) in layout::memory_ranges(memory_bytes) {
        map.push(usable(start.max(layout::HIGH_MEMORY), start + bytes));
    }
    // Linux uses ECAM only where the map or ACPI reserve it.
    map.push(reserved(layout::ECAM, layout::ECAM + layout::ECAM_BYTES));
    map.push(reserved(layout::KVM_PAGES, layout::GAP_END));
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usable_memory_adds_up() {
        let bytes = 8 * layout::GIB;
        let usable: u64 = memory_map(bytes)
            .iter()
            .filter(|range| range.usable)
            .map(|range| range.bytes)
            .sum();
        let hole = layout::HIGH_MEMORY - layout::LOW_MEMORY_END;
        assert_eq!(usable, bytes - hole);
    }
}
