//! The frame around the vmm's state.

use snapshots::state::{MAX_STATE_BYTES, StateError, read_state, write_state};

use crate::support::{bytes_of, each_flipped, file_of};

fn written(payload: &[u8]) -> Vec<u8> {
    let file = file_of(&[]);
    write_state(&file, payload).unwrap();
    bytes_of(&file)
}

#[test]
fn comes_back() {
    for payload in [&b""[..], b"x", &[7; 70_000]] {
        assert_eq!(read_state(&file_of(&written(payload))).unwrap(), payload);
    }
}

#[test]
fn cut_or_continued_it_is_refused() {
    let bytes = written(b"eight vCPUs");
    for len in 0..bytes.len() {
        assert!(read_state(&file_of(&bytes[..len])).is_err(), "{len}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(
        read_state(&file_of(&longer)),
        Err(StateError::Length { .. })
    ));
}

#[test]
fn any_flipped_bit_is_found() {
    each_flipped(&written(b"eight vCPUs"), |position, bytes| {
        assert!(read_state(&file_of(bytes)).is_err(), "byte {position}");
    });
}

#[test]
fn too_much_is_refused_unread() {
    let file = file_of(&written(b""));
    file.set_len(1 << 40).unwrap();
    assert!(matches!(read_state(&file), Err(StateError::TooLong { .. })));
    let payload = vec![0; MAX_STATE_BYTES + 1];
    assert!(matches!(
        write_state(&file_of(&[]), &payload),
        Err(StateError::TooLong { .. })
    ));
    assert!(matches!(
        write_state(&file, b""),
        Err(StateError::NotEmpty { .. })
    ));
}
