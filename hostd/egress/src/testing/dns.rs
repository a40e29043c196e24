//! A DNS server on loopback that knows a few names.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;

/// Answers `A` questions from its table, and nothing else. It ends with the test's runtime.
pub(crate) struct FakeDns {
    address: SocketAddr,
    table: Arc<Mutex<HashMap<String, Vec<Ipv4Addr>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl FakeDns {
    pub(crate) async fn start(names: &[(&str, &[Ipv4Addr])]) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let dns = Self {
            address: socket.local_addr().unwrap(),
            table: Arc::default(),
            asked: Arc::default(),
        };
        for (name, addresses) in names {
            dns.set(name, addresses);
        }
        let (table, asked) = (dns.table.clone(), dns.asked.clone());
        tokio::spawn(async move {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let question = Message::from_vec(&buffer[..length]).unwrap();
                let reply = answer(&question, &table.lock().unwrap(), &asked);
                socket
                    .send_to(&reply.to_vec().unwrap(), from)
                    .await
                    .unwrap();
            }
        });
        dns
    }

    pub(crate) fn set(&self, name: &str, addresses: &[Ipv4Addr]) {
        self.table
            .lock()
            .unwrap()
            .insert(name.into(), addresses.to_vec());
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The names that were asked for, in small letters, each with its type.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn answer(
    question: &Message,
    table: &HashMap<String, Vec<Ipv4Addr>>,
    asked: &Mutex<Vec<String>>,
) -> Message {
    let query = &question.queries[0];
    let name = query.name().to_lowercase().to_ascii();
    let name = name.trim_end_matches('.');
    asked
        .lock()
        .unwrap()
        .push(format!("{name} {}", query.query_type()));
    let mut reply = Message::response(question.metadata.id, OpCode::Query);
    reply.metadata.recursion_available = true;
    reply.queries.clone_from(&question.queries);
    match table.get(name) {
        Some(addresses) if query.query_type() == RecordType::A => {
            reply.add_answers(
                addresses
                    .iter()
                    .map(|address| record(query.name(), *address)),
            );
        }
        Some(_) => {}
        None => reply.metadata.response_code = ResponseCode::NXDomain,
    }
    reply
}

fn record(name: &Name, address: Ipv4Addr) -> Record {
    Record::from_rdata(name.clone(), 60, RData::A(address.into()))
}
