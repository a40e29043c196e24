//! What the guest is told.

use std::net::Ipv4Addr;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{Name, RData, Record};

/// What fits into a datagram on every path, and what a client without EDNS takes.
const DATAGRAM: u16 = 1232;
const OLD_DATAGRAM: u16 = 512;
/// A guest that is frozen and restored must not believe an answer for hours.
const LONGEST_TTL: u64 = 300;
/// Less makes programs ask before each connection.
const SHORTEST_TTL: u64 = 5;
/// RFC 8914: the code of the option, and what it says.
const EXTENDED_ERROR: u16 = 15;

/// A reply.
#[derive(Debug)]
pub(super) struct Reply(Message);

/// Why a reply is empty, told to clients that know EDNS (RFC 8914).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extended {
    /// The addresses are not to be reached.
    Filtered = 17,
    /// The name is not to be asked for.
    Prohibited = 18,
    /// The type is not answered.
    NotSupported = 21,
    /// Too many questions, or no server answered.
    NotReady = 14,
}

impl Reply {
    /// To a message that could not be read.
    pub(super) fn bare(id: u16, code: ResponseCode) -> Self {
        Self(Message::error_msg(id, OpCode::Query, code))
    }

    /// To a question, with nothing in it yet.
    pub(super) fn to(question: &Message, code: ResponseCode) -> Self {
        let mut reply = Message::response(question.metadata.id, OpCode::Query);
        reply.metadata.recursion_desired = question.metadata.recursion_desired;
        reply.metadata.recursion_available = true;
        reply.metadata.response_code = code;
        reply.queries.clone_from(&question.queries);
        if question.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(DATAGRAM);
            reply.set_edns(edns);
        }
        Self(reply)
    }

    /// Adds addresses under the name that was asked for; aliases are not shown.
    pub(super) fn with_addresses(
        mut self,
        name: &Name,
        addresses: &[Ipv4Addr],
        ttl: Duration,
    ) -> Self {
        let seconds = ttl.as_secs().clamp(SHORTEST_TTL, LONGEST_TTL);
        let seconds = u32::try_from(seconds).unwrap_or_default();
        let record = |address: &Ipv4Addr| {
            Record::from_rdata(name.clone(), seconds, RData::A((*address).into()))
        };
        self.0.add_answers(addresses.iter().map(record));
        self
    }

    /// Says why, to a client that understands it.
    pub(super) fn because(mut self, code: Extended, text: &str) -> Self {
        if let Some(edns) = self.0.edns.as_mut() {
            let mut data = (code as u16).to_be_bytes().to_vec();
            data.extend_from_slice(text.as_bytes());
            edns.options_mut()
                .insert(EdnsOption::Unknown(EXTENDED_ERROR, data));
        }
        self
    }

    /// For a stream, or within what the client takes as a datagram: what is too long is cut, and
    /// the client asks again by TCP. Nothing, if it cannot be written.
    pub(super) fn encode(&self, datagram: Option<u16>) -> Option<Vec<u8>> {
        let whole = self.0.to_vec().ok()?;
        match datagram {
            Some(most) if whole.len() > usize::from(most) => self.0.truncate().to_vec().ok(),
            _ => Some(whole),
        }
    }

    /// What a client takes as a datagram.
    pub(super) fn datagram(question: Option<&Message>) -> u16 {
        let edns = question.and_then(|message| message.edns.as_ref());
        edns.map_or(OLD_DATAGRAM, |edns| {
            edns.max_payload().clamp(OLD_DATAGRAM, DATAGRAM)
        })
    }
}
