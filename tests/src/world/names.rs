//! The name server.

use std::net::Ipv4Addr;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::{Name, RData, Record as Resource, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::addresses::{NAME_SERVER, NAMES, WILD, WILD_NAME};
use super::record::Record;

const PORT: u16 = 53;
/// Seconds that an answer may be kept.
const TTL: u32 = 1;

/// Answers for ever.
pub async fn serve(record: Record) -> crate::Result {
    let datagrams = UdpSocket::bind((NAME_SERVER, PORT)).await?;
    let streams = TcpListener::bind((NAME_SERVER, PORT)).await?;
    let mut buffer = [0; 4096];
    loop {
        tokio::select! {
            received = datagrams.recv_from(&mut buffer) => {
                let (length, from) = received?;
                if let Some(answer) = answer(&buffer[..length], &record) {
                    datagrams.send_to(&answer, from).await?;
                }
            }
            accepted = streams.accept() => {
                let (stream, _) = accepted?;
                tokio::spawn(conversation(stream, record.clone()));
            }
        }
    }
}

async fn conversation(mut stream: TcpStream, record: Record) -> std::io::Result<()> {
    loop {
        let mut question = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut question).await?;
        let Some(answer) = answer(&question, &record) else {
            return Ok(());
        };
        stream.write_u16(answer.len() as u16).await?;
        stream.write_all(&answer).await?;
    }
}

fn answer(question: &[u8], record: &Record) -> Option<Vec<u8>> {
    let mut message = Message::from_vec(question).ok()?;
    let query = message.queries.first()?.clone();
    let name = query.name.to_ascii().trim_end_matches('.').to_lowercase();
    record.add(&name).ok()?;
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_available = true;
    message.edns = None;
    message.additionals.clear();
    match addresses_of(&name) {
        None => message.metadata.response_code = ResponseCode::NXDomain,
        Some(addresses) if query.query_type == RecordType::A => {
            message.answers = addresses
                .iter()
                .map(|at| resource(&query.name, *at))
                .collect();
        }
        Some(_) => {}
    }
    message.to_vec().ok()
}

fn addresses_of(name: &str) -> Option<&'static [Ipv4Addr]> {
    let listed = NAMES.iter().find(|(other, _)| *other == name);
    let wild = || {
        let below = name.strip_suffix(WILD_NAME)?;
        below.ends_with('.').then_some(&[WILD][..])
    };
    listed.map(|(_, addresses)| *addresses).or_else(wild)
}

fn resource(name: &Name, address: Ipv4Addr) -> Resource {
    Resource::from_rdata(name.clone(), TTL, RData::A(address.into()))
}
