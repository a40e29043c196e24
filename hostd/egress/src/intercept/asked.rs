//! Which host a request asks for, held against what its connection was opened for.

use std::net::IpAddr;

use http::header::{HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Method, Version};

use super::problem::{Culprit, Problem};
use super::session::Opened;
use crate::hop;
use crate::policy::{Host, HostName, Target};

/// The host and port that a request asks for, if it may ask for them on this connection.
///
/// All that a request says of its host has to agree: absolute-form or `:authority`, and `Host`.
pub(super) fn target(request: &Parts, opened: &Opened) -> Result<Target, Problem> {
    check_method(request)?;
    check_scheme(request, opened)?;
    check_coding(request)?;
    let header = host_header(request)?
        .map(|value| named(value.as_bytes(), opened))
        .transpose()?;
    let authority = request
        .uri
        .authority()
        .map(|text| named(text.as_str().as_bytes(), opened))
        .transpose()?;
    let asked = match (authority, header) {
        (Some(authority), Some(header)) if authority != header => {
            return Err(Problem::SeveralHosts);
        }
        (Some(asked), _) | (None, Some(asked)) => asked,
        (None, None) => return nameless(request, opened),
    };
    // RFC 9112, section 3.2: an absolute-form does not replace the header in HTTP/1.1.
    if request.version == Version::HTTP_11 && !request.headers.contains_key(HOST) {
        return Err(Problem::NoHost);
    }
    check_opened(asked, opened)
}

/// HTTP/1.0 has no `Host`: the connection's own is meant.
fn nameless(request: &Parts, opened: &Opened) -> Result<Target, Problem> {
    let known = opened.target().or_else(|| opened.fallback.clone());
    known
        .filter(|_| request.version == Version::HTTP_10)
        .ok_or(Problem::NoHost)
}

fn check_method(request: &Parts) -> Result<(), Problem> {
    match request.method {
        Method::CONNECT => Err(Problem::Connect),
        Method::TRACE => Err(Problem::Trace),
        _ => Ok(()),
    }
}

fn check_scheme(request: &Parts, opened: &Opened) -> Result<(), Problem> {
    let expected = if opened.secure() {
        Scheme::HTTPS
    } else {
        Scheme::HTTP
    };
    match request.uri.scheme() {
        Some(scheme) if *scheme != expected => Err(Problem::Scheme),
        _ => Ok(()),
    }
}

/// hyper sees to it that the last coding is chunked; another one before it would be taken off the label only.
fn check_coding(request: &Parts) -> Result<(), Problem> {
    let mut codings = hop::tokens(&request.headers, &TRANSFER_ENCODING);
    let plain = codings
        .next()
        .is_none_or(|coding| coding.eq_ignore_ascii_case("chunked"));
    if plain && codings.next().is_none() {
        Ok(())
    } else {
        Err(Problem::TransferCoding(Culprit::Client))
    }
}

fn host_header(request: &Parts) -> Result<Option<&HeaderValue>, Problem> {
    let mut hosts = request.headers.get_all(HOST).iter();
    let first = hosts.next();
    if hosts.next().is_some() {
        Err(Problem::SeveralHosts)
    } else {
        Ok(first)
    }
}

/// Reads `host` or `host:port`; without a port it is the connection's.
///
/// RFC 9110 would have the scheme's default port there, but clients that were told a port through
/// a URL name it, and the connection's port is where an answer comes from in any case.
fn named(text: &[u8], opened: &Opened) -> Result<Target, Problem> {
    // Nearly every request says what its connection was opened for, and in that spelling.
    if let Some(Host::Name(name)) = &opened.host
        && name.as_str().as_bytes() == text
    {
        return Ok(Target::name(name.clone(), opened.port));
    }
    let authority =
        Authority::try_from(text).map_err(|_| Problem::BadHost("it is no authority"))?;
    if authority.as_str().contains('@') {
        return Err(Problem::BadHost("it holds user information"));
    }
    let host = host(authority.host())?;
    let port = match authority.as_str().strip_prefix(authority.host()) {
        Some("") => opened.port,
        Some(rest) => port_number(rest)?,
        None => return Err(Problem::BadHost("it is no authority")),
    };
    Ok(Target { host, port })
}

fn host(text: &str) -> Result<Host, Problem> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(Host::Ip(address.to_canonical()));
    }
    HostName::from_wire(text.as_bytes())
        .map(Host::Name)
        .map_err(|_| Problem::BadHost("it is no host's name"))
}

fn port_number(rest: &str) -> Result<u16, Problem> {
    let digits = rest
        .strip_prefix(':')
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    digits
        .and_then(|digits| digits.parse().ok())
        .ok_or(Problem::BadHost("its port is none"))
}

fn check_opened(asked: Target, opened: &Opened) -> Result<Target, Problem> {
    let host = opened.host.clone().unwrap_or_else(|| asked.host.clone());
    let expected = Target {
        host,
        port: opened.port,
    };
    if asked == expected {
        Ok(asked)
    } else {
        Err(Problem::Misdirected {
            asked,
            opened: expected,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::session::Wire;
    use super::*;

    fn ask(secure: bool, method: &str, uri: &str, hosts: &[&str]) -> Result<String, u16> {
        let mut builder = http::Request::builder().method(method).uri(uri);
        for host in hosts {
            builder = builder.header(HOST, *host);
        }
        let (parts, ()) = builder.body(()).unwrap().into_parts();
        let port = if secure { 443 } else { 80 };
        let host = secure.then(|| Host::Name(HostName::parse("good.example").unwrap()));
        let wire = if secure { Wire::Tls } else { Wire::Http1 };
        let found = target(
            &parts,
            &Opened {
                wire,
                port,
                host,
                fallback: None,
            },
        );
        found
            .map(|target| target.to_string())
            .map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn spellings_of_the_connections_host_are_taken() {
        for host in [
            "good.example",
            "GOOD.example",
            "good.example.",
            "good.example:443",
        ] {
            assert_eq!(
                ask(true, "GET", "/", &[host]),
                Ok("good.example:443".into()),
                "{host}"
            );
        }
    }

    #[test]
    fn another_host_or_port_is_misdirected() {
        for host in [
            "evil.example",
            "good.example.evil.example",
            "xgood.example",
            "good.example:444",
            "192.0.2.9",
        ] {
            assert_eq!(ask(true, "GET", "/", &[host]), Err(421), "{host}");
        }
        assert_eq!(ask(false, "GET", "/", &["good.example:8080"]), Err(421));
    }

    #[test]
    fn what_is_no_host_is_a_bad_request() {
        for host in [
            "",
            " ",
            "a b",
            "a@good.example",
            "good.example:",
            "good.example:x",
            "good.example:99999",
            "good.example:443:443",
            "good.example/",
            "good.example#",
            "good.example?",
            "good%2eexample",
            "127.1",
            "0x7f.1",
            "2130706433",
            "good..example",
            "good.example,evil.example",
            "*",
            "[::1",
            "good.example\\",
        ] {
            assert_eq!(ask(true, "GET", "/", &[host]), Err(400), "{host:?}");
        }
        assert_eq!(ask(true, "GET", "/", &[]), Err(400));
        assert_eq!(
            ask(true, "GET", "/", &["good.example", "good.example"]),
            Err(400)
        );
        assert_eq!(
            ask(true, "GET", "/", &["good.example", "evil.example"]),
            Err(400)
        );
    }

    #[test]
    fn an_absolute_form_agrees_with_all_else() {
        let ok = Ok("good.example:443".to_owned());
        assert_eq!(
            ask(true, "GET", "https://good.example/x", &["good.example"]),
            ok
        );
        assert_eq!(
            ask(true, "GET", "https://evil.example/x", &["evil.example"]),
            Err(421)
        );
        assert_eq!(
            ask(true, "GET", "https://evil.example/x", &["good.example"]),
            Err(400)
        );
        assert_eq!(
            ask(true, "GET", "http://good.example/x", &["good.example"]),
            Err(400)
        );
        assert_eq!(
            ask(true, "GET", "https://u:p@good.example/x", &["good.example"]),
            Err(400)
        );
        assert_eq!(ask(true, "GET", "https://good.example/x", &[]), Err(400));
    }

    #[test]
    fn tunnels_and_echoes_are_refused() {
        assert_eq!(
            ask(true, "CONNECT", "good.example:443", &["good.example"]),
            Err(405)
        );
        assert_eq!(
            ask(false, "CONNECT", "good.example:80", &["good.example"]),
            Err(405)
        );
        assert_eq!(ask(true, "TRACE", "/", &["good.example"]), Err(405));
    }

    #[test]
    fn a_cleartext_connection_is_asked_each_time() {
        assert_eq!(
            ask(false, "GET", "/", &["any.example"]),
            Ok("any.example:80".into())
        );
        assert_eq!(
            ask(false, "GET", "/", &["192.0.2.9"]),
            Ok("192.0.2.9:80".into())
        );
        assert_eq!(
            ask(false, "GET", "/", &["[2001:db8::1]"]),
            Ok("[2001:db8::1]:80".into())
        );
    }

    #[test]
    fn no_authority_is_too_odd() {
        let opened = Opened {
            wire: Wire::Http1,
            port: 443,
            host: None,
            fallback: None,
        };
        bolero::check!()
            .with_test_time(std::time::Duration::from_secs(1))
            .for_each(|bytes| {
                if let Ok(target) = named(bytes, &opened) {
                    let again = named(target.to_string().as_bytes(), &opened);
                    assert_eq!(again.unwrap(), target);
                }
            });
    }
}
