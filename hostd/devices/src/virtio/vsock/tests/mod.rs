//! Streams from end to end, with a guest that keeps or breaks every rule.

mod guest;
mod pacing;

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use super::credit::WINDOW;
use super::packet::{Header, SHUTDOWN_BOTH, SHUTDOWN_RECEIVE, SHUTDOWN_SEND, op};
use super::{Connector, Vsock};
use crate::event_loop::EventHandler;
use guest::Guest;

#[test]
fn bytes_go_both_ways() {
    let mut guest = Guest::new();
    let (mut program, port) = guest.stream();
    program.write_all(b"hello").unwrap();
    let (header, data) = guest.next();
    assert_eq!((header.op, data.as_slice()), (op::DATA, &b"hello"[..]));
    guest.write(port, b"world!");
    let mut reply = [0; 6];
    program.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"world!");
}

#[test]
fn what_a_program_says_after_its_line_is_not_lost() {
    let mut guest = Guest::new();
    let _program = guest.program("CONNECT 1024\nearly");
    let (request, _) = guest.next();
    guest.nothing();
    guest.say(request.src_port, op::RESPONSE);
    assert_eq!(guest.next().1, b"early");
}

#[test]
fn a_refused_connection_ends() {
    let mut guest = Guest::new();
    let mut program = guest.program("CONNECT 1024\n");
    let (request, _) = guest.next();
    guest.say(request.src_port, op::RESET);
    assert_eq!(program.read(&mut [0; 8]).unwrap(), 0);
    guest.nothing();
    let mut nonsense = guest.program("HELLO\n");
    guest.nothing();
    assert_eq!(nonsense.read(&mut [0; 8]).unwrap_or(0), 0);
}

#[test]
fn a_program_that_gives_up_takes_its_request_back() {
    let mut guest = Guest::new();
    let program = guest.program("CONNECT 1024\n");
    let (request, _) = guest.next();
    drop(program);
    let (reset, _) = guest.next();
    assert_eq!((reset.op, reset.src_port), (op::RESET, request.src_port));
}

#[test]
fn the_guest_gets_no_more_than_it_has_room_for() {
    let mut guest = Guest::new();
    guest.window = 10_000;
    let (mut program, port) = guest.stream();
    let bytes: Vec<u8> = (0..25_000u32).map(|n| n as u8).collect();
    program.write_all(&bytes).unwrap();
    let mut received = Vec::new();
    while received.len() < bytes.len() {
        guest.poll();
        let before = received.len();
        guest
            .inbox
            .drain(..)
            .for_each(|(_, data)| received.extend(data));
        assert_eq!(received.len() - before, 10_000.min(bytes.len() - before));
        guest.nothing();
        guest.taken = received.len() as u32;
        guest.say(port, op::CREDIT_UPDATE);
    }
    assert_eq!(received, bytes);
}

/// Writes for the guest until the window is full. Returns what was written.
fn fill(guest: &mut Guest, port: u32) -> Vec<u8> {
    let mut sent = Vec::new();
    let mut told = 0;
    // The kernel's socket buffer takes some, too; what is told comes back as credit.
    loop {
        guest.poll();
        if let Some((header, _)) = guest.inbox.drain(..).next_back() {
            told = header.fwd_cnt;
        }
        if sent.len() as u32 - told + 0x4000 > WINDOW {
            return sent;
        }
        let piece: Vec<u8> = (0..0x4000u32)
            .map(|n| (n ^ sent.len() as u32 >> 8) as u8)
            .collect();
        guest.write(port, &piece);
        sent.extend(piece);
    }
}

#[test]
fn a_slow_program_gets_everything_and_the_guest_waits() {
    let mut guest = Guest::new();
    let (mut program, port) = guest.stream();
    let sent = fill(&mut guest, port);
    let mut received = vec![0; sent.len()];
    for piece in received.chunks_mut(4096) {
        program.read_exact(piece).unwrap();
        guest.driver.run();
    }
    assert_eq!(received, sent);
    assert!(guest.next().0.fwd_cnt > sent.len() as u32 - WINDOW);
}

#[test]
fn a_guest_that_overruns_the_window_is_cut_off() {
    let mut guest = Guest::new();
    let (program, port) = guest.stream();
    fill(&mut guest, port);
    // More than the whole window, without waiting to be told.
    for _ in 0..=WINDOW / 0x4000 {
        guest.write(port, &[0; 0x4000]);
    }
    guest.poll();
    assert!(guest.inbox.iter().any(|(header, _)| header.op == op::RESET));
    drop(program);
}

#[test]
fn what_a_guest_sent_before_it_closed_still_arrives() {
    let mut guest = Guest::new();
    let (mut program, port) = guest.stream();
    let sent = fill(&mut guest, port);
    guest.shut(port, SHUTDOWN_BOTH);
    assert_eq!(guest.next().0.op, op::RESET, "the guest need not wait");
    let mut received = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match program.read(&mut piece).unwrap() {
            0 => break,
            len => received.extend_from_slice(&piece[..len]),
        }
        guest.driver.run();
    }
    assert_eq!(received, sent);
    guest.nothing();
}

#[test]
fn either_direction_can_be_closed_alone() {
    let mut guest = Guest::new();
    let (mut program, port) = guest.stream();
    program.write_all(b"last").unwrap();
    program.shutdown(Shutdown::Write).unwrap();
    assert_eq!(guest.next().1, b"last");
    let (header, _) = guest.next();
    assert_eq!((header.op, header.flags), (op::SHUTDOWN, SHUTDOWN_SEND));
    guest.write(port, b"answer");
    guest.shut(port, SHUTDOWN_SEND);
    let mut answer = String::new();
    program.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "answer");
    let (header, _) = guest.next();
    assert_eq!((header.op, header.flags), (op::SHUTDOWN, SHUTDOWN_BOTH));
}

#[test]
fn a_guest_that_takes_no_more_stops_the_program() {
    let mut guest = Guest::new();
    let (mut program, port) = guest.stream();
    guest.shut(port, SHUTDOWN_RECEIVE);
    assert_eq!(
        program.write(b"x").unwrap_err().kind(),
        ErrorKind::BrokenPipe
    );
    drop(program);
    let (header, _) = guest.next();
    assert_eq!((header.op, header.flags), (op::SHUTDOWN, SHUTDOWN_BOTH));
}

#[test]
fn a_program_that_leaves_is_reported_after_its_last_bytes() {
    let mut guest = Guest::new();
    let (mut program, port) = guest.stream();
    program.write_all(b"bye").unwrap();
    drop(program);
    guest.write(port, b"too late");
    let heard: Vec<Header> = {
        guest.poll();
        guest.inbox.iter().map(|packet| packet.0).collect()
    };
    assert!(guest.inbox.iter().any(|(_, data)| data == b"bye"));
    assert_eq!(
        heard.last().map(|last| (last.op, last.flags)),
        Some((op::SHUTDOWN, SHUTDOWN_BOTH))
    );
    guest.inbox.clear();
    guest.say(port, op::RESET);
    guest.nothing();
}

#[test]
fn packets_of_no_stream_are_reset_and_resets_are_not() {
    let mut guest = Guest::new();
    for stray in [
        op::REQUEST,
        op::RESPONSE,
        op::SHUTDOWN,
        op::DATA,
        op::CREDIT_UPDATE,
        0,
        99,
    ] {
        guest.say(5, stray);
        let (reset, _) = guest.next();
        assert_eq!(
            (reset.op, reset.src_port, reset.dst_port),
            (op::RESET, 5, 1024)
        );
    }
    guest.say(5, op::RESET);
    let seqpacket = Header {
        kind: 2,
        ..guest.header(5, op::REQUEST)
    };
    let foreign = Header {
        src_cid: 99,
        ..guest.header(5, op::REQUEST)
    };
    let elsewhere = Header {
        dst_cid: 1,
        ..guest.header(5, op::REQUEST)
    };
    guest.send(foreign, &[]);
    guest.send(elsewhere, &[]);
    guest.nothing();
    guest.send(seqpacket, &[]);
    assert_eq!(guest.next().0.op, op::RESET);
}

struct ToPair(Option<UnixStream>);

impl Connector for ToPair {
    fn connect(&mut self, port: u32) -> std::io::Result<UnixStream> {
        self.0
            .take()
            .filter(|_| port == 80)
            .ok_or(ErrorKind::ConnectionRefused.into())
    }
}

#[test]
fn a_guest_reaches_what_the_connector_allows() {
    let (mut program, inner) = UnixStream::pair().unwrap();
    let mut guest = Guest::with(Some(Box::new(ToPair(Some(inner)))));
    guest.say(80, op::REQUEST);
    assert_eq!(guest.next().0.op, op::RESPONSE);
    guest.write(80, b"GET");
    let mut said = [0; 3];
    program.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"GET");
    let second = Header {
        src_port: 9,
        ..guest.header(80, op::REQUEST)
    };
    guest.send(second, &[]);
    assert_eq!(guest.next().0.op, op::RESET);
}

#[test]
fn a_credit_request_is_answered() {
    let mut guest = Guest::new();
    let (_program, port) = guest.stream();
    guest.say(port, op::CREDIT_REQUEST);
    let (header, _) = guest.next();
    assert_eq!((header.op, header.buf_alloc), (op::CREDIT_UPDATE, WINDOW));
}

#[test]
fn a_guest_that_provokes_resets_has_to_take_them() {
    let mut guest = Guest::new();
    // Nothing is taken out of the receive queue, so at some point nothing is taken in.
    for _ in 0..600 {
        let header = guest.header(5, op::DATA);
        guest.driver.poke(0x18_0000, &header.encode());
        guest.driver.send(1, &[crate::testing::read(0x18_0000, 44)]);
        if guest.driver.used(1).is_empty() {
            guest.poll();
            assert_eq!(guest.driver.used(1).len(), 1, "it goes on");
            return;
        }
    }
    panic!("resets without bound");
}

#[test]
fn a_restored_guest_hears_of_it_before_anybody_connects() {
    let mut old = Guest::new();
    let (_program, port) = old.stream();
    let state = old.driver.save();
    let mut guest = old.restored(&state);
    let mut program = guest.program("CONNECT 1024\n");
    guest.driver.function.resume();
    guest.driver.run();
    assert_eq!(guest.events(), [0]);
    guest.driver.function.resume();
    guest.nothing();
    guest.write(port, b"old");
    assert_eq!(guest.next().0.op, op::RESET);

    guest.return_event();
    let (request, _) = guest.next();
    assert_eq!(request.op, op::REQUEST);
    assert_ne!(request.src_port, port, "ports go on from where they were");
    guest.say(request.src_port, op::RESPONSE);
    let mut line = [0; 3];
    program.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"OK ");
    assert!(guest.events().is_empty());
}

#[test]
fn a_reset_of_the_device_ends_every_stream() {
    let mut guest = Guest::new();
    let (mut program, _) = guest.stream();
    guest.driver.put8(0x14, 0);
    assert_eq!(program.read(&mut [0; 1]).unwrap(), 0);
    let _waiting = guest.program("CONNECT 1024\n");
    guest.driver.run();
}

#[test]
fn a_driver_that_gives_up_leaves_nothing_to_do() {
    let mut guest = Guest::new();
    let (mut program, _) = guest.stream();
    guest.driver.put8(0x14, 0x8f);
    program.write_all(b"x").unwrap_err();
    let _waiting = guest.program("CONNECT 1024\n");
    guest.driver.run();
    let state = guest.driver.save();
    guest.restored(&state).driver.run();
}

#[test]
fn reserved_addresses_are_refused() {
    for cid in [0, 2, u32::MAX] {
        let dir = tempfile::tempdir().unwrap();
        let listener = std::os::unix::net::UnixListener::bind(dir.path().join("v")).unwrap();
        assert!(Vsock::new(cid, listener, None).is_err());
    }
}
