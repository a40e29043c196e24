//! One question of the guest's, read strictly.

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};

use super::reply::Reply;
use crate::policy::HostName;

/// A question is a name, a type and perhaps EDNS with a cookie or padding; more carries something else.
pub(super) const MAX_QUESTION: usize = 1232;

/// A question.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) message: Message,
    /// The name as it was asked for, in the guest's letters.
    pub(super) name: Name,
    pub(super) kind: Kind,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// The IPv4 addresses of a name.
    Addresses(HostName),
    /// Something else about a name: there is nothing, for nobody can use it here. IPv6 does not
    /// exist for the guest, service bindings would carry the keys for encrypted hellos, and the
    /// rest would carry whatever somebody wants it to.
    Nothing(HostName),
    /// A name that is no host's.
    NoHost,
}

impl Question {
    /// Reads a message; what is no question is answered at once, or not at all.
    ///
    /// # Errors
    /// The reply to send, or nothing.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Option<Reply>> {
        let id = match bytes {
            [a, b, ..] if bytes.len() <= MAX_QUESTION => u16::from_be_bytes([*a, *b]),
            _ => return Err(None),
        };
        let Ok(mut message) = Message::from_vec(bytes) else {
            return Err(Some(Reply::bare(id, ResponseCode::FormErr)));
        };
        if message.metadata.message_type != MessageType::Query {
            // An answer to an answer could go on for ever.
            return Err(None);
        }
        if message.metadata.op_code != OpCode::Query {
            return Err(Some(Reply::bare(id, ResponseCode::NotImp)));
        }
        let (Some(query), None) = (message.queries.pop(), message.queries.pop()) else {
            return Err(Some(Reply::bare(id, ResponseCode::FormErr)));
        };
        message.queries.push(query.clone());
        if query.query_class() != DNSClass::IN {
            return Err(Some(Reply::to(&message, ResponseCode::Refused)));
        }
        let kind = match HostName::from_wire(query.name().to_ascii().as_bytes()) {
            Ok(name) if query.query_type() == RecordType::A => Kind::Addresses(name),
            Ok(name) => Kind::Nothing(name),
            Err(_) => Kind::NoHost,
        };
        let name = query.name().clone();
        Ok(Self {
            message,
            name,
            kind,
        })
    }
}
