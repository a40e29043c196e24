//! How much each side of a stream may still send: counts of bytes that wrap, as on the wire.

use super::packet::Header;

/// Bytes that the guest may send ahead of what a host program has taken. They are buffered here
/// when that program is slow. Four of the largest packets, so that the guest need not wait for
/// each to be acknowledged.
pub const WINDOW: u32 = 256 << 10;

/// The guest is told of space that has become free when it is this much: every telling costs a
/// packet and an interrupt.
const TELL_AFTER: u32 = WINDOW / 2;

/// The counts of both directions of one stream.
#[derive(Debug, Default)]
pub struct Credit {
    /// The guest's buffer, and what it has taken out of it.
    peer_window: u32,
    peer_taken: u32,
    /// Sent to the guest.
    sent: u32,
    /// Received from the guest, passed on to the host program, and the latter as last told.
    received: u32,
    passed_on: u32,
    told: u32,
}

impl Credit {
    /// Notes what every packet of the guest says of its buffer.
    pub fn heard(&mut self, header: &Header) {
        self.peer_window = header.buf_alloc;
        self.peer_taken = header.fwd_cnt;
    }

    /// Bytes that the guest has room for. A guest that claims to have taken more than it was
    /// sent has none.
    pub fn room(&self) -> u32 {
        let under_way = self.sent.wrapping_sub(self.peer_taken);
        self.peer_window.saturating_sub(under_way)
    }

    /// So many bytes have been sent to the guest.
    pub fn sent(&mut self, len: u32) {
        self.sent = self.sent.wrapping_add(len);
    }

    /// Whether the guest may have sent so many bytes; notes that it did.
    pub fn receive(&mut self, len: u32) -> bool {
        let buffered = self.received.wrapping_sub(self.passed_on);
        self.received = self.received.wrapping_add(len);
        len <= WINDOW.saturating_sub(buffered)
    }

    /// So many bytes have been passed on to the host program.
    pub fn passed_on(&mut self, len: u32) {
        self.passed_on = self.passed_on.wrapping_add(len);
    }

    /// Whether the guest should be told of the space that has become free.
    pub fn worth_telling(&self) -> bool {
        self.passed_on.wrapping_sub(self.told) >= TELL_AFTER
    }

    /// Tells the guest, with a packet that is being sent anyway.
    pub fn tell(&mut self, header: &mut Header) {
        header.buf_alloc = WINDOW;
        header.fwd_cnt = self.passed_on;
        self.told = self.passed_on;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(buf_alloc: u32, fwd_cnt: u32) -> Header {
        Header {
            buf_alloc,
            fwd_cnt,
            ..Header::default()
        }
    }

    #[test]
    fn room_follows_what_the_guest_takes() {
        let mut credit = Credit::default();
        assert_eq!(credit.room(), 0);
        credit.heard(&says(100, 0));
        credit.sent(100);
        assert_eq!(credit.room(), 0);
        credit.heard(&says(100, 60));
        assert_eq!(credit.room(), 60);
    }

    #[test]
    fn counts_wrap_and_lies_give_no_room() {
        let mut credit = Credit {
            sent: u32::MAX,
            ..Credit::default()
        };
        credit.heard(&says(100, u32::MAX - 10));
        assert_eq!(credit.room(), 90);
        credit.sent(2);
        assert_eq!(credit.room(), 88);
        credit.heard(&says(100, 50));
        assert_eq!(credit.room(), 0);
        credit.heard(&says(0, 1));
        assert_eq!(credit.room(), 0);
    }

    #[test]
    fn a_guest_may_fill_the_window_and_no_more() {
        let mut credit = Credit::default();
        assert!(credit.receive(WINDOW));
        credit.passed_on(10);
        assert!(!credit.worth_telling());
        assert!(!credit.receive(11));
    }

    #[test]
    fn telling_is_rare() {
        let mut credit = Credit::default();
        credit.receive(TELL_AFTER);
        credit.passed_on(TELL_AFTER - 1);
        assert!(!credit.worth_telling());
        credit.passed_on(1);
        assert!(credit.worth_telling());
        let mut header = Header::default();
        credit.tell(&mut header);
        assert_eq!((header.buf_alloc, header.fwd_cnt), (WINDOW, TELL_AFTER));
        assert!(!credit.worth_telling());
    }
}
