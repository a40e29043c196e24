//! Guests that know of a network card: a driver of a few dozen register writes.

use super::mini_guest::{COM1, jump_to_start, out_al};

/// Where the card is: its slot's configuration space, and its registers.
const CONFIGURATION: u32 = 0xe000_0000 + (12 << 15);
const COMMON: u32 = 0xc000_0000 + 12 * 0x8000;
const NOTIFY: u32 = COMMON + 0x3000;
/// A virtio network card of version 1.
const CARD: u32 = 0x1041_1af4;

const FEATURE_SELECT: u32 = COMMON + 0x08;
const FEATURES: u32 = COMMON + 0x0c;
const STATUS: u32 = COMMON + 0x14;
const QUEUE_SELECT: u32 = COMMON + 0x16;
const QUEUE_SIZE: u32 = COMMON + 0x18;
const QUEUE_ENABLE: u32 = COMMON + 0x1c;
const QUEUE_RINGS: u32 = COMMON + 0x20;

/// Checksums both ways, address, segmentation to the guest.
const ACCEPTED: u32 = 1 | 1 << 1 | 1 << 5 | 1 << 7;
/// Frames that are sent between two resets of the card.
const FRAMES: u16 = 3;
/// How often the guest looks whether they were taken, before it goes on regardless.
const LOOKS: u32 = 200_000;

/// A queue's rings, one page each, and the one buffer that all its entries are.
struct Queue {
    number: u16,
    rings: u32,
    buffer_bytes: u32,
    flags: u32,
}

const RECEIVE: Queue = Queue {
    number: 0,
    rings: 0x30_0000,
    buffer_bytes: 2048,
    flags: 2, // the device writes
};
const TRANSMIT: Queue = Queue {
    number: 1,
    rings: 0x31_0000,
    buffer_bytes: 72,
    flags: 0,
};

impl Queue {
    fn available(&self) -> u32 {
        self.rings + 0x1000
    }

    fn used(&self) -> u32 {
        self.rings + 0x2000
    }

    fn buffer(&self) -> u32 {
        self.rings + 0x3000
    }

    /// Empties the rings and shows them to the card.
    fn set_up(&self) -> Vec<u8> {
        let mut code = [
            write32(self.rings, self.buffer()),
            write32(self.rings + 8, self.buffer_bytes),
            write32(self.rings + 12, self.flags),
            write32(self.available(), 0),
            write32(self.used(), 0),
            write16(QUEUE_SELECT, self.number),
            write16(QUEUE_SIZE, 16),
        ]
        .concat();
        let rings = [self.rings, self.available(), self.used()];
        for (register, ring) in (QUEUE_RINGS..).step_by(8).zip(rings) {
            code.extend(write32(register, ring));
            code.extend(write32(register + 4, 0));
        }
        code.extend(write16(QUEUE_ENABLE, 1));
        code
    }

    /// Gives the card the `count`th buffer.
    fn offer(&self, count: u16) -> Vec<u8> {
        let notify = NOTIFY + u32::from(self.number) * 4;
        [
            write16(self.available() + 2, count),
            write16(notify, self.number),
        ]
        .concat()
    }
}

/// Prints `Y` when there is a network card and `N` when there is none, for ever.
pub fn looking() -> Vec<u8> {
    let mut code = vec![0x8b, 0x05]; // mov eax, [CONFIGURATION]
    code.extend(CONFIGURATION.to_le_bytes());
    code.push(0x3d); // cmp eax, CARD
    code.extend(CARD.to_le_bytes());
    code.extend([0xb0, b'N', 0x75, 0x02, 0xb0, b'Y']); // mov al, 'N'; jne no; mov al, 'Y'; no:
    code.extend(out_al(COM1));
    jump_to_start(code)
}

/// Resets the card, sends a few frames, waits a little for them to be taken, and prints `+` if a frame has come
/// meanwhile, `.` if none has; for ever.
pub fn talking() -> Vec<u8> {
    let mut code = [
        write8(STATUS, 0),
        write8(STATUS, 1),
        write8(STATUS, 3),
        write32(FEATURE_SELECT, 0),
        write32(FEATURES, ACCEPTED),
        write32(FEATURE_SELECT, 1),
        write32(FEATURES, 1), // version 1
        write8(STATUS, 11),
        RECEIVE.set_up(),
        TRANSMIT.set_up(),
        frame(),
        write8(STATUS, 15),
        RECEIVE.offer(1),
    ]
    .concat();
    for count in 1..=FRAMES {
        code.extend(TRANSMIT.offer(count));
    }
    code.push(0xb9); // mov ecx, LOOKS
    code.extend(LOOKS.to_le_bytes());
    code.extend(compare16(TRANSMIT.used() + 2, FRAMES)); // again:
    code.extend([0x74, 0x03, 0x49, 0x75, 0xf2]); // je done; dec ecx; jnz again; done:
    code.extend([0xb0, b'.']); // mov al, '.'
    code.extend(compare16(RECEIVE.used() + 2, 0));
    code.extend([0x74, 0x02, 0xb0, b'+']); // je none; mov al, '+'; none:
    code.extend(out_al(COM1));
    jump_to_start(code)
}

/// What is sent: to everybody, from the card, of a type for experiments, behind a header that asks for nothing.
fn frame() -> Vec<u8> {
    let words = [0, 0, 0, 0xffff_ffff, 0x7402_ffff, 0x0177_6168, 0x0000_b588];
    let places = (TRANSMIT.buffer()..).step_by(4);
    places
        .zip(words)
        .flat_map(|(place, word)| write32(place, word))
        .collect()
}

/// mov byte [address], value
fn write8(address: u32, value: u8) -> Vec<u8> {
    [&[0xc6, 0x05][..], &address.to_le_bytes(), &[value]].concat()
}

/// mov word [address], value
fn write16(address: u32, value: u16) -> Vec<u8> {
    let code = [0x66, 0xc7, 0x05];
    [&code[..], &address.to_le_bytes(), &value.to_le_bytes()].concat()
}

/// mov dword [address], value
fn write32(address: u32, value: u32) -> Vec<u8> {
    let code = [0xc7, 0x05];
    [&code[..], &address.to_le_bytes(), &value.to_le_bytes()].concat()
}

/// cmp word [address], value: nine bytes
fn compare16(address: u32, value: u16) -> Vec<u8> {
    let code = [0x66, 0x81, 0x3d];
    [&code[..], &address.to_le_bytes(), &value.to_le_bytes()].concat()
}
