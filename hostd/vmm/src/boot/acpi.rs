//! The ACPI tables: a reduced-hardware machine with one PCI bus and one serial port.
//!
//! ```text
//! RSDP ─ XSDT ─┬─ FADT ─ DSDT   power off, reset, PCI host bridge, serial port
//!              ├─ MADT          a LAPIC for each vCPU, one IOAPIC
//!              └─ MCFG          where configuration space is mapped
//! ```
//!
//! Reduced hardware means: no PIT, no PIC, no RTC, no keyboard controller, no VGA, so the kernel
//! does not look for them.

use acpi_tables::fadt::{FADTBuilder, Flags, PmProfile};
use acpi_tables::gas::{AccessSize, AddressSpace as GasSpace, GAS};
use acpi_tables::madt::{
    EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic,
};
use acpi_tables::mcfg::MCFG;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use acpi_tables::{Aml, aml};
use devices::legacy::{acpi as power, serial};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::Error;
use crate::machine::layout;

const OEM: [u8; 6] = *b"THAW  ";
const TABLE: [u8; 8] = *b"MICROVM ";
const REVISION: u32 = 1;
/// ACPI 6 for the DSDT.
const DSDT_REVISION: u8 = 6;

/// FADT boot architecture flags: VGA is not present, ASPM is not for the OS, there is no CMOS clock.
/// The bits for legacy devices and a keyboard controller stay clear.
const BOOT_ARCHITECTURE: u16 = (1 << 2) | (1 << 4) | (1 << 5);

/// Writes the tables for `vcpus` processors and answers where the RSDP is.
///
/// # Errors
///
/// When they do not fit their place.
pub fn write(memory: &GuestMemoryMmap, vcpus: u8) -> Result<GuestAddress, Error> {
    let mut place = Place {
        memory,
        // The RSDP comes first, where the kernel would also find it by scanning.
        next: layout::ACPI_TABLES + Rsdp::len().next_multiple_of(16) as u64,
    };
    let dsdt = place.put(&dsdt()?)?;
    let mut xsdt = XSDT::new(OEM, TABLE, REVISION);
    xsdt.add_entry(place.put(&bytes(&fadt(dsdt)))?);
    xsdt.add_entry(place.put(&bytes(&madt(vcpus)))?);
    xsdt.add_entry(place.put(&bytes(&mcfg()))?);
    let xsdt = place.put(&bytes(&xsdt))?;
    let rsdp = GuestAddress(layout::ACPI_TABLES);
    memory
        .write_slice(&bytes(&Rsdp::new(OEM, xsdt)), rsdp)
        .map_err(Error::Memory)?;
    Ok(rsdp)
}

struct Place<'a> {
    memory: &'a GuestMemoryMmap,
    next: u64,
}

impl Place<'_> {
    fn put(&mut self, table: &[u8]) -> Result<u64, Error> {
        let at = self.next;
        self.next += (table.len() as u64).next_multiple_of(16);
        if self.next > layout::ACPI_TABLES_END {
            return Err(Error::Acpi(table.len()));
        }
        self.memory
            .write_slice(table, GuestAddress(at))
            .map_err(Error::Memory)?;
        Ok(at)
    }
}

fn bytes(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

fn fadt(dsdt: u64) -> acpi_tables::fadt::FADT {
    let register = |offset: u64| {
        GAS::new(
            GasSpace::SystemIo,
            8,
            0,
            AccessSize::ByteAccess,
            layout::POWER_PORT + offset,
        )
    };
    let mut fadt = FADTBuilder::new(OEM, TABLE, REVISION)
        .dsdt_64(dsdt)
        .preferred_pm_profile(PmProfile::EnterpriseServer)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::ResetRegSup)
        .flag(Flags::Headless)
        // Set means: not a fixed button. There is none at all.
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton);
    fadt.iapc_boot_arch = BOOT_ARCHITECTURE.into();
    fadt.sleep_control_reg = register(power::SLEEP_CONTROL);
    fadt.sleep_status_reg = register(power::SLEEP_STATUS);
    fadt.reset_reg = register(power::RESET);
    fadt.reset_value = power::RESET_VALUE;
    fadt.finalize()
}

fn madt(vcpus: u8) -> MADT {
    let lapic = LocalInterruptController::Address(layout::LAPIC);
    let mut madt = MADT::new(OEM, TABLE, REVISION, lapic);
    for id in 0..vcpus {
        madt.add_structure(ProcessorLocalApic::new(id, id, EnabledStatus::Enabled));
    }
    madt.add_structure(IoApic::new(0, layout::IOAPIC, 0));
    madt
}

fn mcfg() -> MCFG {
    let mut mcfg = MCFG::new(OEM, TABLE, REVISION);
    mcfg.add_ecam(layout::ECAM, 0, 0, 0);
    mcfg
}

fn dsdt() -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    host_bridge().to_aml(&mut body);
    motherboard().to_aml(&mut body);
    serial_port().to_aml(&mut body);
    soft_off(&mut body);
    let mut dsdt = Sdt::new(*b"DSDT", 36, DSDT_REVISION, OEM, TABLE, REVISION);
    dsdt.append_slice(&body);
    Ok(dsdt.as_slice().to_vec())
}

/// A device under `\_SB_`: named objects and its resources.
struct DeviceNode {
    name: &'static str,
    ids: Vec<(&'static str, Box<dyn Aml>)>,
    resources: Vec<Box<dyn Aml>>,
}

impl DeviceNode {
    fn to_aml(&self, sink: &mut Vec<u8>) {
        let resources = self.resources.iter().map(|r| &**r as &dyn Aml).collect();
        let resources = aml::ResourceTemplate::new(resources);
        let mut names: Vec<aml::Name> = self
            .ids
            .iter()
            .map(|(name, value)| aml::Name::new((*name).into(), &**value))
            .collect();
        names.push(aml::Name::new("_CRS".into(), &resources));
        let names = names.iter().map(|name| name as &dyn Aml).collect();
        let device = aml::Device::new(self.name.into(), names);
        aml::Scope::new("_SB_".into(), vec![&device]).to_aml_bytes(sink);
    }
}

fn host_bridge() -> DeviceNode {
    let window_end = layout::PCI_WINDOW + layout::PCI_WINDOW_BYTES - 1;
    DeviceNode {
        name: "PCI0",
        ids: vec![
            ("_HID", Box::new(aml::EISAName::new("PNP0A08"))),
            ("_CID", Box::new(aml::EISAName::new("PNP0A03"))),
            ("_SEG", Box::new(aml::ZERO)),
            ("_UID", Box::new(aml::ZERO)),
        ],
        resources: vec![
            Box::new(aml::AddressSpace::new_bus_number(0u16, 0u16)),
            Box::new(aml::AddressSpace::new_memory(
                aml::AddressSpaceCacheable::NotCacheable,
                true,
                layout::PCI_WINDOW as u32,
                window_end as u32,
                None,
            )),
        ],
    }
}

/// Reserves ECAM: Linux does not use it unless a motherboard device claims it.
fn motherboard() -> DeviceNode {
    DeviceNode {
        name: "MBRD",
        ids: vec![
            ("_HID", Box::new(aml::EISAName::new("PNP0C02"))),
            ("_UID", Box::new(aml::ZERO)),
        ],
        resources: vec![Box::new(aml::Memory32Fixed::new(
            true,
            layout::ECAM as u32,
            layout::ECAM_BYTES as u32,
        ))],
    }
}

fn serial_port() -> DeviceNode {
    DeviceNode {
        name: "COM1",
        ids: vec![
            ("_HID", Box::new(aml::EISAName::new("PNP0501"))),
            ("_UID", Box::new(aml::ZERO)),
        ],
        resources: vec![
            Box::new(aml::Interrupt::new(true, true, false, false, serial::IRQ)),
            Box::new(aml::IO::new(
                serial::BASE as u16,
                serial::BASE as u16,
                0,
                serial::SIZE as u8,
            )),
        ],
    }
}

/// The sleep type that means "off".
fn soft_off(sink: &mut Vec<u8>) {
    let sleep_type = power::S5_SLEEP_TYPE;
    aml::Name::new("_S5_".into(), &aml::Package::new(vec![&sleep_type])).to_aml_bytes(sink);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_fit_and_sum_to_zero() {
        let memory =
            GuestMemoryMmap::from_ranges(&[(GuestAddress(0), layout::MIB as usize)]).unwrap();
        let rsdp = write(&memory, 8).unwrap();
        let mut header = [0; 36];
        memory.read_slice(&mut header, rsdp).unwrap();
        assert_eq!(&header[..8], b"RSD PTR ");
        assert_eq!(header.iter().fold(0u8, |sum, b| sum.wrapping_add(*b)), 0);
        let dsdt = dsdt().unwrap();
        assert_eq!(dsdt.iter().fold(0u8, |sum, b| sum.wrapping_add(*b)), 0);
    }
}
