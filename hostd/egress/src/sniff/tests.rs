//! What is made of which first bytes.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;

/// What is decided when the bytes come in these pieces.
fn in_pieces(bytes: &[u8], size: usize) -> Result<Option<Spoken>, SniffError> {
    let mut sniffer = Sniffer::default();
    for piece in bytes.chunks(size.max(1)) {
        sniffer.buffer().extend_from_slice(piece);
        match sniffer.decide() {
            Ok(None) => {}
            decided => return decided,
        }
    }
    Ok(None)
}

fn sniff(bytes: &[u8]) -> Result<Option<Spoken>, SniffError> {
    let whole = in_pieces(bytes, bytes.len());
    for size in [1, 2, 7, 100] {
        assert_eq!(
            in_pieces(bytes, size),
            whole,
            "in pieces of {size}: {bytes:?}"
        );
    }
    whole
}

/// A real ClientHello.
fn hello(name: &str, alpn: &[&str]) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// Adds an extension with these bytes to a ClientHello.
fn with_extension(hello: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
    let mut body = hello[9..].to_vec();
    let session = usize::from(body[34]);
    let suites = 35 + session;
    let compressions =
        suites + 2 + usize::from(u16::from_be_bytes([body[suites], body[suites + 1]]));
    let list = compressions + 1 + usize::from(body[compressions]);
    body.extend_from_slice(&kind.to_be_bytes());
    body.extend_from_slice(&(data.len() as u16).to_be_bytes());
    body.extend_from_slice(data);
    let length = (body.len() - list - 2) as u16;
    body[list..list + 2].copy_from_slice(&length.to_be_bytes());
    wrapped(&body)
}

/// A ClientHello of this body, in one record.
fn wrapped(body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_be_bytes();
    let mut message = vec![1, length[1], length[2], length[3]];
    message.extend_from_slice(body);
    record(&message)
}

fn record(payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![22, 3, 1];
    bytes.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

fn tls(bytes: &[u8]) -> ClientHello {
    match sniff(bytes) {
        Ok(Some(Spoken::Tls(hello))) => hello,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_hello_tells_name_and_protocols() {
    let hello = tls(&hello("api.example.com", &["h2", "http/1.1"]));
    assert_eq!(hello.name.unwrap().as_str(), "api.example.com");
    assert_eq!(hello.alpn, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    assert!(!hello.ech);
}

#[test]
fn an_address_is_no_name() {
    assert_eq!(tls(&hello("192.0.2.1", &[])).name, None);
}

#[test]
fn a_hello_may_come_in_many_records() {
    let whole = hello("api.example.com", &["h2"]);
    let pieces = whole[5..].chunks(40).flat_map(record).collect::<Vec<_>>();
    assert_eq!(tls(&pieces), tls(&whole));
    let shreds = whole[5..].chunks(1).flat_map(record).collect::<Vec<_>>();
    assert_eq!(sniff(&shreds), Err(TlsError::Records.into()));
}

#[test]
fn encrypted_hellos_are_seen() {
    let plain = hello("front.example", &[]);
    // Outer, HKDF-SHA256, AES-128-GCM, a configuration's number, a key, what is encrypted.
    let mut outer = vec![0, 0, 1, 0, 1, 7, 0, 32];
    outer.extend_from_slice(&[9; 32]);
    outer.extend_from_slice(&[0, 100]);
    outer.extend_from_slice(&[9; 100]);
    for kind in [0xfe0d, 0xffce] {
        assert!(tls(&with_extension(&plain, kind, &outer)).ech, "{kind:x}");
    }
    assert!(!tls(&with_extension(&plain, 0x1a1a, &[0])).ech);
}

#[test]
fn two_names_are_none() {
    let sni = [0, 8, 0, 0, 5, b'a', b'.', b'e', b'x', b'e'];
    let twice = with_extension(&hello("front.example", &[]), 0, &sni);
    assert!(matches!(
        sniff(&twice),
        Err(SniffError::Tls(TlsError::Refused(_)))
    ));
}

#[test]
fn odd_names_are_refused() {
    for name in [
        "127.1",
        "0x7f.1",
        "2130706433",
        "good.example\0.evil",
        "a b.example",
        "",
        ".",
        "a..b",
        "a%2e.example",
    ] {
        let mut bytes = hello("xxxxxxxxxxxxxxxxxxxxx", &[]);
        let at = bytes.windows(21).position(|w| w == [b'x'; 21]).unwrap();
        // The list, the entry and the name have lengths of their own before the name.
        let mut sni = bytes[at - 9..at].to_vec();
        let length = name.len() as u16;
        sni[2..4].copy_from_slice(&(length + 5).to_be_bytes());
        sni[4..6].copy_from_slice(&(length + 3).to_be_bytes());
        sni[7..9].copy_from_slice(&length.to_be_bytes());
        sni.extend_from_slice(name.as_bytes());
        let shorter = 21 - name.len();
        bytes.splice(at - 9..at + 21, sni);
        shorten(&mut bytes, shorter);
        let sniffed = sniff(&bytes);
        assert!(
            matches!(sniffed, Err(SniffError::Tls(_))),
            "{name:?}: {sniffed:?}"
        );
    }
}

/// Mends the lengths of record, message and list of extensions after `by` bytes were taken out.
fn shorten(bytes: &mut [u8], by: usize) {
    let less = |bytes: &mut [u8], at: usize| {
        let length = u16::from_be_bytes([bytes[at], bytes[at + 1]]) - by as u16;
        bytes[at..at + 2].copy_from_slice(&length.to_be_bytes());
    };
    less(bytes, 3);
    less(bytes, 7);
    let suites = 9 + 35 + usize::from(bytes[9 + 34]);
    let compressions =
        suites + 2 + usize::from(u16::from_be_bytes([bytes[suites], bytes[suites + 1]]));
    let list = compressions + 1 + usize::from(bytes[compressions]);
    less(bytes, list);
}

#[test]
fn malformed_tls_is_refused() {
    let good = hello("api.example.com", &[]);
    let changed = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    for (bytes, what) in [
        (vec![22, 3, 1, 0, 0], "an empty record"),
        (vec![22, 3, 1, 0xff, 0xff], "a record that is too long"),
        (changed(5, 2), "a ServerHello"),
        (changed(6, 1), "a message of 64 KiB and more"),
        (changed(8, 0), "a message that ends within a record"),
        (
            [&good[..60], &[22, 3, 1, 0, 1, 0][..]].concat(),
            "a record within a record",
        ),
    ] {
        let decided = in_pieces(&bytes, 1);
        assert!(!matches!(decided, Ok(Some(_))), "{what}: {decided:?}");
    }
    let endless = [
        &[22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff][..],
        &vec![0; MAX_FIRST_BYTES],
    ]
    .concat();
    assert_eq!(in_pieces(&endless, 1000), Err(SniffError::TooLong));
}

#[test]
fn what_might_be_http_is_http() {
    for text in [
        "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET / HTTP/1.1\n",
        "get / http/1.1\r\n",
        "GET / HTTP/1.1\r",
        "\r\nGET / HTTP/1.1\r\n",
        "\n\n\r\n GET / HTTP/1.1\r\n",
        " \t GET / HTTP/1.0\r\n",
        "GET\t/\tHTTP/1.1\r\n",
        "GET\u{b}/\u{c}HTTP/1.1\r\n",
        "\u{b}\u{c}\rGET / HTTP/1.1\r\n",
        "GET\r/\rHTTP/1.1\r\n",
        "X / \rHTTP/1.1\r\n",
        "X\r/ HTTP/1.1\n",
        "GET /\r\n",
        "GET http://evil.example/\r\n",
        "CONNECT evil.example:443 HTTP/1.1\r\n",
        "FROBNICATE / HTTP/1.1\r\n",
        "X!#$%&'*+-.^_`|~ / HTTP/9.9 and more\r\n",
        "PRI * HTTP/2.0 \r\n",
        "\r\nPRI * HTTP/2.0\r\n",
        "pri * HTTP/2.0\r\n",
        "OPTIONS * HTTP/1.1\r\n",
        "GET /\u{fc} HTTP/1.1\r\n",
    ] {
        assert_eq!(sniff(text.as_bytes()), Ok(Some(Spoken::Http1)), "{text:?}");
    }
    assert_eq!(
        sniff(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        Ok(Some(Spoken::Http2))
    );
}

#[test]
fn what_might_become_http_is_awaited_but_not_for_ever() {
    for text in [
        "",
        "G",
        "GET",
        "GET /",
        "GET / HTTP/1.1",
        "\r\n\r\n",
        "    ",
        "PRI * HTTP/2.0",
        "FROBNICATE",
        "FROBNICATE\r",
        "FROBNICATE it\r",
    ] {
        assert_eq!(sniff(text.as_bytes()), Ok(None), "{text:?}");
    }
    for byte in [b'A', b' ', b'\n'] {
        assert_eq!(
            in_pieces(&vec![byte; MAX_FIRST_BYTES], 1000),
            Err(SniffError::TooLong)
        );
    }
    let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(MAX_FIRST_BYTES));
    assert_eq!(in_pieces(long.as_bytes(), 1000), Err(SniffError::TooLong));
}

#[test]
fn all_else_is_unknown() {
    for bytes in [
        &b"SSH-2.0-OpenSSH_9.9\r\n"[..],
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"*1\r\n$4\r\nPING\r\n",
        b"AMQP\0\0\x09\x01",
        b"0032git-upload-pack /project.git\0host=a.example\0",
        b"EHLO a.example\r\n",
        b"QUIT\r\n",
        b"\x16\x02\x01",
        b"\x80\x2e\x01\x03\x01",
        b"\x05\x01\0",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\nGET / HTTP/1.1\r\n",
        b"(GET / HTTP/1.1\r\n",
        b"\0GET / HTTP/1.1\r\n",
    ] {
        assert_eq!(sniff(bytes), Ok(Some(Spoken::Unknown)), "{bytes:?}");
    }
}

#[test]
fn pieces_do_not_matter_whatever_the_bytes() {
    let seed = hello("api.example.com", &["h2"]);
    bolero::check!()
        .with_type::<(Vec<u8>, u16, u8, bool)>()
        .with_test_time(Duration::from_secs(2))
        .for_each(|(noise, at, size, on_hello)| {
            let mut bytes = noise.clone();
            if *on_hello {
                bytes = seed.clone();
                let at = usize::from(*at) % bytes.len();
                let end = (at + noise.len().min(4)).min(bytes.len());
                let some = noise.iter().copied().take(end - at).collect::<Vec<_>>();
                bytes[at..at + some.len()].copy_from_slice(&some);
            }
            let whole = in_pieces(&bytes, bytes.len());
            assert_eq!(in_pieces(&bytes, usize::from(*size)), whole);
            assert_eq!(in_pieces(&bytes, 1), whole);
        });
}

#[test]
fn nothing_is_lost_by_reading() {
    let mut source: &[u8] = b"hello";
    let mut sniffer = Sniffer::default();
    let mut piece = [0; 2];
    while let Ok(count @ 1..) = source.read(&mut piece) {
        sniffer.buffer().extend_from_slice(&piece[..count]);
    }
    assert_eq!(&sniffer.into_bytes()[..], b"hello");
}
