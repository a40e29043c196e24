//! Guests of a few instructions: an ELF with a PVH note around hand-made code.

use std::fs::File;
use std::io::Write;

/// Where the code is loaded and entered, in 32-bit protected mode without paging.
const LOAD_AT: u32 = 0x10_0000;
/// Where a counting guest keeps its count.
const COUNTER: u32 = 0x20_0000;

/// The serial port.
pub const COM1: u16 = 0x3f8;
const SLEEP_CONTROL: u16 = 0x600;
const RESET: u16 = 0x602;
/// Sleep type 5, enable.
const POWER_OFF: u8 = 0x34;

/// Prints the last octal digit of its count, for ever: `123456701234567…`
pub fn counting() -> Vec<u8> {
    let mut code = Vec::new();
    code.extend([0xb9]); // mov ecx, 20000
    code.extend(20_000u32.to_le_bytes());
    code.extend([0x49, 0x75, 0xfd]); // again: dec ecx; jnz again
    code.extend([0xbf]); // mov edi, COUNTER
    code.extend(COUNTER.to_le_bytes());
    code.extend([0xff, 0x07]); // inc dword [edi]
    code.extend([0x8b, 0x07]); // mov eax, [edi]
    code.extend([0x24, 0x07, 0x04, 0x30]); // and al, 7; add al, '0'
    code.extend(out_al(COM1));
    jump_to_start(code)
}

/// The digit that a counting guest prints after `digit`.
pub fn next_digit(digit: u8) -> u8 {
    b'0' + (digit - b'0' + 1) % 8
}

/// Prints a dot, or `B` when its time stamp counter went back since the last dot, for ever.
pub fn watching_the_clock() -> Vec<u8> {
    let mut code = Vec::new();
    code.extend([0xb9]); // mov ecx, 20000
    code.extend(20_000u32.to_le_bytes());
    code.extend([0x49, 0x75, 0xfd]); // again: dec ecx; jnz again
    code.extend([0xbf]); // mov edi, COUNTER
    code.extend(COUNTER.to_le_bytes());
    code.extend([0x0f, 0x31]); // rdtsc
    code.extend([0x89, 0xc3, 0x89, 0xd1]); // mov ebx, eax; mov ecx, edx
    code.extend([0x2b, 0x07, 0x1b, 0x57, 0x04]); // sub eax, [edi]; sbb edx, [edi + 4]
    code.extend([0xb0, b'.', 0x73, 0x02, 0xb0, b'B']); // mov al, '.'; jnc fine; mov al, 'B'; fine:
    code.extend([0x89, 0x1f, 0x89, 0x4f, 0x04]); // mov [edi], ebx; mov [edi + 4], ecx
    code.extend(out_al(COM1));
    jump_to_start(code)
}

/// Switches the machine off.
pub fn powering_off() -> Vec<u8> {
    [out(SLEEP_CONTROL, POWER_OFF), halt()].concat()
}

/// Resets the machine.
pub fn resetting() -> Vec<u8> {
    [out(RESET, 1), halt()].concat()
}

/// Faults without any handler, which shuts the processor down.
pub fn triple_faulting() -> Vec<u8> {
    vec![0xcc] // int3
}

/// Says something, then touches what no machine has: unmapped memory, a port and a PCI slot, with all
/// sizes. Prints `!` when it is through.
pub fn trespassing() -> Vec<u8> {
    let mut code = Vec::new();
    for address in [0xd000_0000u32, 0xe00f_f000, 0xefff_fffc, 0xfed0_0000] {
        code.extend([0xbf]); // mov edi, address
        code.extend(address.to_le_bytes());
        code.extend([0x8a, 0x07, 0x66, 0x8b, 0x07, 0x8b, 0x07]); // mov al/ax/eax, [edi]
        code.extend([0x88, 0x07, 0x66, 0x89, 0x07, 0x89, 0x07]); // mov [edi], al/ax/eax
    }
    for port in [0x60u16, 0x3f6, 0x5ff, 0x601, 0xcf8, 0xffff] {
        code.extend([0x66, 0xba]); // mov dx, port
        code.extend(port.to_le_bytes());
        code.extend([0xec, 0x66, 0xed, 0xed]); // in al/ax/eax, dx
        code.extend([0xee, 0x66, 0xef, 0xef]); // out dx, al/ax/eax
    }
    [code, out(COM1, b'!'), halt()].concat()
}

/// Ends a loop around all of the code.
pub fn jump_to_start(mut code: Vec<u8>) -> Vec<u8> {
    code.extend([0xe9]); // jmp
    let start = code.len() as i32 + 4;
    code.extend((-start).to_le_bytes());
    code
}

fn out(port: u16, value: u8) -> Vec<u8> {
    [vec![0xb0, value], out_al(port)].concat() // mov al, value
}

/// Writes AL to a port.
pub fn out_al(port: u16) -> Vec<u8> {
    let [low, high] = port.to_le_bytes();
    vec![0x66, 0xba, low, high, 0xee] // mov dx, port; out dx, al
}

fn halt() -> Vec<u8> {
    vec![0xf4, 0xeb, 0xfd] // hlt; jmp to hlt
}

/// Makes a kernel of `code`.
pub fn kernel(code: &[u8]) -> File {
    const HEADER: u32 = 64;
    const PROGRAM_HEADER: u32 = 56;
    let note_at = HEADER + 2 * PROGRAM_HEADER;
    let mut note = Vec::new();
    for word in [4, 4, 18] {
        note.extend(u32::to_le_bytes(word)); // sizes of name and value, XEN_ELFNOTE_PHYS32_ENTRY
    }
    note.extend(*b"Xen\0");
    note.extend(LOAD_AT.to_le_bytes());
    let code_at = note_at + note.len() as u32;

    let mut elf = Vec::new();
    elf.extend(*b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    elf.extend([2, 0, 62, 0, 1, 0, 0, 0]); // executable, x86-64
    elf.extend(u64::from(LOAD_AT).to_le_bytes());
    elf.extend(u64::from(HEADER).to_le_bytes());
    elf.extend([0; 12]); // no sections, no flags
    elf.extend([64, 0, 56, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    for (kind, at, address, len) in [
        (1, code_at, LOAD_AT, code.len()),
        (4, note_at, 0, note.len()),
    ] {
        elf.extend(u32::to_le_bytes(kind));
        elf.extend(5u32.to_le_bytes());
        for field in [at, address, address, len as u32, len as u32, 1] {
            elf.extend(u64::from(field).to_le_bytes());
        }
    }
    elf.extend(note);
    elf.extend(code);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&elf).unwrap();
    file
}

/// An initramfs that nobody looks at.
pub fn initramfs() -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[0; 4096]).unwrap();
    file
}
