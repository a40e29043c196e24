use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::service::Service;
use crate::gate::{Limits, Shared};
use crate::policy::{Fallback, Policy};
use crate::testing::{FakeDns, only, policy, sandbox};

const PUBLIC: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 44);
const PRIVATE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

struct Stage {
    dns: FakeDns,
    shared: Arc<Shared>,
    service: Service,
}

impl Stage {
    async fn new(policy: Policy, limits: Limits) -> Self {
        let dns = FakeDns::start(&[
            ("good.example", &[PUBLIC]),
            ("mixed.example", &[PRIVATE, PUBLIC, METADATA]),
            ("inside.example", &[PRIVATE]),
            ("empty.example", &[]),
        ])
        .await;
        let (_, shared) = sandbox(&dns, policy, limits);
        let shared = Arc::new(shared);
        let service = Service::new(shared.clone());
        Self {
            dns,
            shared,
            service,
        }
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Message {
        let question = question(name, kind).to_vec().unwrap();
        let reply = self.service.answer(&question, true).await.unwrap();
        Message::from_vec(&reply).unwrap()
    }

    async fn addresses(&self, name: &str) -> Result<Vec<Ipv4Addr>, ResponseCode> {
        let reply = self.ask(name, RecordType::A).await;
        match reply.metadata.response_code {
            ResponseCode::NoError => Ok(addresses(&reply)),
            code => Err(code),
        }
    }
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut question = Message::query();
    question.metadata.id = 7;
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    question.set_edns(Edns::new());
    question
}

fn addresses(reply: &Message) -> Vec<Ipv4Addr> {
    let address = |data: &RData| match data {
        RData::A(address) => address.0,
        other => panic!("{other}"),
    };
    reply
        .answers
        .iter()
        .map(|record| address(&record.data))
        .collect()
}

#[tokio::test]
async fn an_allowed_name_is_answered_and_remembered() {
    let stage = Stage::new(only(&["good.example"]), Limits::default()).await;
    assert_eq!(stage.addresses("GOOD.example.").await, Ok(vec![PUBLIC]));
    let names = stage.shared.names.of(PUBLIC, Instant::now());
    assert_eq!(names, ["good.example".parse().unwrap()]);
}

#[tokio::test]
async fn nothing_of_a_refused_name_leaves_the_host() {
    let stage = Stage::new(only(&["good.example"]), Limits::default()).await;
    for name in [
        "secret-data.evil.example.",
        "x.good.example.",
        "example.",
        "a_b.evil.example.",
    ] {
        for kind in [
            RecordType::A,
            RecordType::AAAA,
            RecordType::TXT,
            RecordType::HTTPS,
        ] {
            let reply = stage.ask(name, kind).await;
            assert_eq!(
                reply.metadata.response_code,
                ResponseCode::NXDomain,
                "{name} {kind}"
            );
        }
    }
    assert!(stage.dns.asked().is_empty());
}

#[tokio::test]
async fn the_reason_is_told_to_who_understands_it() {
    let stage = Stage::new(only(&[]), Limits::default()).await;
    let reply = stage.ask("evil.example.", RecordType::A).await;
    let options = reply.edns.as_ref().unwrap().options();
    let (_, option) = options.options.first().unwrap();
    let EdnsOption::Unknown(15, text) = option else {
        panic!("{option:?}");
    };
    assert!(text.starts_with(&[0, 18]) && text.ends_with(b"policy"));
}

#[tokio::test]
async fn other_types_of_an_allowed_name_are_empty_and_not_asked_for() {
    let stage = Stage::new(only(&["good.example"]), Limits::default()).await;
    for kind in [
        RecordType::AAAA,
        RecordType::TXT,
        RecordType::HTTPS,
        RecordType::SVCB,
        RecordType::ANY,
        RecordType::MX,
        RecordType::NULL,
    ] {
        let reply = stage.ask("good.example.", kind).await;
        assert_eq!(
            reply.metadata.response_code,
            ResponseCode::NoError,
            "{kind}"
        );
        assert!(
            reply.answers.is_empty() && reply.authorities.is_empty(),
            "{kind}"
        );
    }
    assert!(stage.dns.asked().is_empty());
}

#[tokio::test]
async fn addresses_that_may_not_be_dialled_are_left_out() {
    let stage = Stage::new(policy(Fallback::Allow, &[], &[]), Limits::default()).await;
    assert_eq!(stage.addresses("mixed.example.").await, Ok(vec![PUBLIC]));
    assert_eq!(
        stage.addresses("inside.example.").await,
        Err(ResponseCode::NXDomain)
    );
    assert!(stage.shared.names.of(PRIVATE, Instant::now()).is_empty());
    let stage = Stage::new(only(&["inside.example+private"]), Limits::default()).await;
    assert_eq!(stage.addresses("inside.example.").await, Ok(vec![PRIVATE]));
}

#[tokio::test]
async fn what_the_servers_say_is_told() {
    let stage = Stage::new(policy(Fallback::Allow, &[], &[]), Limits::default()).await;
    assert_eq!(
        stage.addresses("absent.example.").await,
        Err(ResponseCode::NXDomain)
    );
    assert_eq!(stage.addresses("empty.example.").await, Ok(vec![]));
}

#[tokio::test]
async fn different_names_are_bounded_and_known_ones_are_not() {
    let limits = Limits {
        names_each_minute: 3.try_into().unwrap(),
        ..Limits::default()
    };
    let stage = Stage::new(only(&["*.tunnel.example"]), limits).await;
    for n in 0..20 {
        let _ = stage.addresses(&format!("data{n}.tunnel.example.")).await;
    }
    assert_eq!(stage.dns.asked().len(), 3);
    assert_eq!(
        stage.addresses("data0.tunnel.example.").await,
        Err(ResponseCode::NXDomain)
    );
    assert_eq!(
        stage.addresses("data9.tunnel.example.").await,
        Err(ResponseCode::ServFail)
    );
}

#[tokio::test]
async fn questions_are_bounded() {
    let limits = Limits {
        questions_each_second: 1.try_into().unwrap(),
        ..Limits::default()
    };
    let stage = Stage::new(only(&["good.example"]), limits).await;
    let mut busy = 0;
    for _ in 0..20 {
        busy += usize::from(stage.addresses("good.example.").await == Err(ResponseCode::ServFail));
    }
    assert!(busy >= 15, "{busy}");
}

#[tokio::test]
async fn messages_that_are_no_questions() {
    let stage = Stage::new(only(&["good.example"]), Limits::default()).await;
    let answer = async |bytes: &[u8]| {
        let reply = stage.service.answer(bytes, true).await?;
        Some(Message::from_vec(&reply).unwrap().metadata.response_code)
    };
    let with = |change: fn(&mut Message)| {
        let mut message = question("good.example.", RecordType::A);
        change(&mut message);
        message.to_vec().unwrap()
    };
    assert_eq!(answer(&[]).await, None);
    assert_eq!(answer(&[1]).await, None);
    assert_eq!(answer(&[0; 1233]).await, None);
    assert_eq!(
        answer(b"\x00\x07garbage that is no message").await,
        Some(ResponseCode::FormErr)
    );
    let response = Message::response(7, OpCode::Query).to_vec().unwrap();
    assert_eq!(answer(&response).await, None);
    let update = with(|m| m.metadata.op_code = OpCode::Update);
    assert_eq!(answer(&update).await, Some(ResponseCode::NotImp));
    let none = with(|m| m.queries.clear());
    assert_eq!(answer(&none).await, Some(ResponseCode::FormErr));
    let two = with(|m| m.queries.push(m.queries[0].clone()));
    assert_eq!(answer(&two).await, Some(ResponseCode::FormErr));
    let chaos = with(|m| {
        m.queries[0].set_query_class(DNSClass::CH);
    });
    assert_eq!(answer(&chaos).await, Some(ResponseCode::Refused));
    assert!(stage.dns.asked().is_empty());
}

#[test]
fn no_bytes_make_the_reader_panic() {
    bolero::check!()
        .with_type::<Vec<u8>>()
        .for_each(|bytes: &Vec<u8>| {
            if let Ok(question) = super::question::Question::read(bytes) {
                assert_eq!(question.message.queries.len(), 1);
            }
        });
}

#[tokio::test]
async fn both_transports_are_served() {
    let stage = Stage::new(only(&["good.example"]), Limits::default()).await;
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (to_udp, to_tcp) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
    let serving = tokio::spawn(super::serve(stage.shared.clone(), udp, tcp));
    let bytes = question("good.example.", RecordType::A).to_vec().unwrap();

    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.send_to(&bytes, to_udp).await.unwrap();
    let mut buffer = [0; 512];
    let (length, _) = client.recv_from(&mut buffer).await.unwrap();
    let reply = Message::from_vec(&buffer[..length]).unwrap();
    assert_eq!(addresses(&reply), [PUBLIC]);

    let mut client = TcpStream::connect(to_tcp).await.unwrap();
    for _ in 0..2 {
        client
            .write_u16(bytes.len().try_into().unwrap())
            .await
            .unwrap();
        client.write_all(&bytes).await.unwrap();
        let length = client.read_u16().await.unwrap();
        let mut reply = vec![0; length.into()];
        client.read_exact(&mut reply).await.unwrap();
        assert_eq!(addresses(&Message::from_vec(&reply).unwrap()), [PUBLIC]);
    }
    // A length that is too long ends the connection.
    client.write_u16(u16::MAX).await.unwrap();
    assert_eq!(client.read(&mut buffer).await.unwrap(), 0);
    serving.abort();
}
