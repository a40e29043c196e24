//! The first serial port: output only, to a pipe that never makes the guest wait.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use vm_superio::serial::NoEvents;
use vm_superio::{Serial as Uart, SerialState as UartState, Trigger};
use vmm_sys_util::eventfd::EventFd;

use crate::bus::BusDevice;
use crate::event_loop::lock;

/// First port of ttyS0.
pub const BASE: u64 = 0x3f8;
/// Ports in the range.
pub const SIZE: u64 = 8;
/// The interrupt that a PC expects it on.
pub const IRQ: u32 = 4;

/// Version of [`SerialState`].
const VERSION: u32 = 1;
/// Bytes that the emulated receive buffer holds.
const FIFO: usize = 64;

/// Why there is no serial port.
#[derive(Debug, Error)]
pub enum SerialError {
    /// The output cannot be made non-blocking.
    #[error("console output")]
    Output(#[source] io::Error),
    /// A saved state that no serial port can have been in.
    #[error("saved serial state: {0}")]
    BadState(&'static str),
}

/// The port's registers, as they are saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SerialState {
    version: u32,
    /// Divisor low and high, IER, IIR, LCR, LSR, MCR, MSR, scratch.
    registers: [u8; 9],
    received: Vec<u8>,
}

/// A 16550 at [`BASE`].
pub struct Serial(Mutex<Uart<Interrupt, NoEvents, Output>>);

impl Serial {
    /// A port that writes to `output`, which is made non-blocking, and interrupts through
    /// `interrupt`; new, or as it was saved.
    ///
    /// # Errors
    /// [`SerialError`].
    pub fn new(
        output: OwnedFd,
        interrupt: EventFd,
        state: Option<&SerialState>,
    ) -> Result<Self, SerialError> {
        let flags = fcntl(&output, FcntlArg::F_GETFL).map(OFlag::from_bits_retain);
        let set =
            flags.and_then(|flags| fcntl(&output, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)));
        set.map_err(|errno| SerialError::Output(errno.into()))?;
        let registers = state.map_or_else(|| Ok(UartState::default()), SerialState::validated)?;
        let output = Output(File::from(output));
        let uart = Uart::from_state(&registers, Interrupt(interrupt), NoEvents, output);
        let uart = uart.map_err(|_| SerialError::BadState("it cannot be set"))?;
        Ok(Self(Mutex::new(uart)))
    }

    /// The registers, to be saved.
    pub fn save(&self) -> SerialState {
        let state = lock(&self.0).state();
        SerialState {
            version: VERSION,
            registers: [
                state.baud_divisor_low,
                state.baud_divisor_high,
                state.interrupt_enable,
                state.interrupt_identification,
                state.line_control,
                state.line_status,
                state.modem_control,
                state.modem_status,
                state.scratch,
            ],
            received: state.in_buffer,
        }
    }
}

impl BusDevice for Serial {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let mut uart = lock(&self.0);
        data.fill(0);
        if let [byte] = data {
            *byte = uart.read(register(offset));
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        let mut uart = lock(&self.0);
        // An `outsb` arrives as several bytes for the one port.
        for byte in data {
            if let Err(error) = uart.write(register(offset), *byte) {
                tracing::debug!(?error, "serial port");
            }
        }
    }
}

/// The UART knows eight registers and ignores the others.
fn register(offset: u64) -> u8 {
    u8::try_from(offset).unwrap_or(u8::MAX)
}

impl SerialState {
    fn validated(&self) -> Result<UartState, SerialError> {
        if self.version != VERSION {
            return Err(SerialError::BadState("unknown version"));
        }
        if self.received.len() > FIFO {
            return Err(SerialError::BadState("receive buffer"));
        }
        let [low, high, ier, iir, lcr, lsr, mcr, msr, scratch] = self.registers;
        Ok(UartState {
            baud_divisor_low: low,
            baud_divisor_high: high,
            interrupt_enable: ier,
            interrupt_identification: iir,
            line_control: lcr,
            line_status: lsr,
            modem_control: mcr,
            modem_status: msr,
            scratch,
            in_buffer: self.received.clone(),
        })
    }
}

struct Interrupt(EventFd);

impl Trigger for Interrupt {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

/// The pipe. What does not fit is dropped: a reader that has stopped must not stop the guest.
struct Output(File);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Ok(written) => Ok(written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(_) => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn port(state: Option<&SerialState>) -> (Serial, File) {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let serial = Serial::new(writer, EventFd::new(0).unwrap(), state).unwrap();
        (serial, File::from(reader))
    }

    #[test]
    fn output_arrives_and_a_full_pipe_does_not_block() {
        let (serial, mut reader) = port(None);
        for _ in 0..200_000 {
            serial.write(0, b"x");
        }
        let mut start = [0; 16];
        reader.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"xxxxxxxxxxxxxxxx");
    }

    #[test]
    fn a_reader_that_went_away_is_ignored() {
        let (serial, reader) = port(None);
        drop(reader);
        serial.write(0, b"hello");
        serial.read(200, &mut [0; 3]);
    }

    #[test]
    fn state_survives_and_forgeries_do_not() {
        let (serial, _reader) = port(None);
        serial.write(7, &[0x5a]);
        let state = serial.save();
        let (restored, _reader) = port(Some(&state));
        assert_eq!(restored.save(), state);
        let forged = SerialState {
            received: vec![0; 65],
            ..state
        };
        let (_, writer) = nix::unistd::pipe().unwrap();
        assert!(Serial::new(writer, EventFd::new(0).unwrap(), Some(&forged)).is_err());
    }
}
