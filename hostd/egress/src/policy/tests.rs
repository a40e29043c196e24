//! What a policy says of what.

use super::*;

const NO_OWN: &[&str] = &[];

fn policy(fallback: Fallback, allow: &[&str], deny: &[&str]) -> Policy {
    let strings = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect();
    Policy::parse(&PolicySpec {
        fallback,
        allow: strings(allow),
        deny: strings(deny),
    })
    .unwrap()
}

fn allow(entries: &[&str]) -> Policy {
    policy(Fallback::Deny, entries, &[])
}

fn own(addresses: &[&str]) -> OwnAddresses {
    addresses
        .iter()
        .map(|a| a.parse::<IpAddr>().unwrap())
        .collect()
}

/// The code of what is said of `name:port`.
fn name(policy: &Policy, target: &str) -> &'static str {
    let (name, port) = target.rsplit_once(':').unwrap();
    code(policy.check(&name.parse().unwrap(), port.parse().unwrap()))
}

fn ip(policy: &Policy, target: &str, own_addresses: &[&str]) -> &'static str {
    let (address, port) = target.rsplit_once(':').unwrap();
    let address = address.parse().unwrap();
    code(policy.check_ip(address, port.parse().unwrap(), &own(own_addresses)))
}

/// Of a name that stands for an address, at port 443.
fn rebound(policy: &Policy, name: &str, address: &str, own_addresses: &[&str]) -> &'static str {
    let name = name.parse().unwrap();
    code(policy.check_address(&name, address.parse().unwrap(), 443, &own(own_addresses)))
}

fn code(verdict: Verdict) -> &'static str {
    verdict.err().map_or("ok", |refusal| refusal.code())
}

#[test]
fn names_and_ports_are_allowed_as_written() {
    let policy = allow(&[
        "exact.example",
        "*.below.example",
        "ported.example:8443",
        "*.mixed.example:22",
    ]);
    for (target, expected) in [
        ("exact.example:443", "ok"),
        ("exact.example:1", "ok"),
        ("a.exact.example:443", "not-allowed"),
        ("xexact.example:443", "not-allowed"),
        ("exact.example.evil:443", "not-allowed"),
        ("a.below.example:443", "ok"),
        ("a.b.below.example:80", "ok"),
        ("below.example:443", "not-allowed"),
        ("xbelow.example:443", "not-allowed"),
        ("ported.example:8443", "ok"),
        ("ported.example:443", "not-allowed"),
        ("a.mixed.example:22", "ok"),
        ("a.mixed.example:23", "not-allowed"),
        ("other.example:443", "not-allowed"),
        ("example:443", "not-allowed"),
    ] {
        assert_eq!(name(&policy, target), expected, "{target}");
    }
}

#[test]
fn deny_wins_over_allow_and_default() {
    let denied = ["bad.example", "*.worse.example:443", "*.example.org"];
    for policy in [
        policy(Fallback::Allow, &[], &denied),
        policy(
            Fallback::Allow,
            &["*", "bad.example", "x.worse.example"],
            &denied,
        ),
        policy(Fallback::Deny, &["*", "bad.example:443"], &denied),
    ] {
        for (target, expected) in [
            ("bad.example:443", "denied"),
            ("sub.bad.example:443", "ok"),
            ("x.worse.example:443", "denied"),
            ("x.worse.example:80", "ok"),
            ("worse.example:443", "ok"),
            ("deep.er.example.org:1", "denied"),
            ("other.example:443", "ok"),
        ] {
            assert_eq!(name(&policy, target), expected, "{target}");
        }
    }
}

#[test]
fn everything_can_be_denied() {
    let policy = policy(Fallback::Allow, &["a.example", "1.1.1.1"], &["*"]);
    assert_eq!(name(&policy, "a.example:443"), "denied");
    assert_eq!(name(&Policy::deny_all(), "a.example:443"), "not-allowed");
    assert_eq!(
        ip(&Policy::deny_all(), "1.1.1.1:443", NO_OWN),
        "bare-address"
    );
}

#[test]
fn a_denied_entry_is_named() {
    let policy = policy(Fallback::Allow, &[], &["*.Bad.example:443"]);
    let refusal = policy
        .check(&"a.bad.example".parse().unwrap(), 443)
        .unwrap_err();
    assert!(
        refusal.to_string().contains("*.Bad.example:443"),
        "{refusal}"
    );
}

#[test]
fn a_question_without_a_port_is_about_any_of_them() {
    let policy = policy(
        Fallback::Deny,
        &["a.example:22", "b.example"],
        &["a.example:80", "b.example:443", "c.example"],
    );
    for (name, expected) in [
        ("a.example", "ok"),
        ("b.example", "ok"),
        ("c.example", "denied"),
        ("d.example", "not-allowed"),
    ] {
        assert_eq!(
            code(policy.check_any_port(&name.parse().unwrap())),
            expected,
            "{name}"
        );
    }
}

#[test]
fn bare_addresses_need_an_address_entry() {
    for permissive in [allow(&["*"]), policy(Fallback::Allow, &[], &[])] {
        assert_eq!(ip(&permissive, "1.1.1.1:443", NO_OWN), "bare-address");
        assert_eq!(ip(&permissive, "10.0.0.1:443", NO_OWN), "special-address");
    }
    let policy = policy(
        Fallback::Deny,
        &["1.1.1.0/24:443", "8.8.8.8", "2606:4700::/32"],
        &["1.1.1.7", "2606:4700::7"],
    );
    for (target, expected) in [
        ("1.1.1.1:443", "ok"),
        ("1.1.1.1:80", "bare-address"),
        ("1.1.1.7:443", "denied"),
        ("1.1.2.1:443", "bare-address"),
        ("8.8.8.8:53", "ok"),
        ("::ffff:8.8.8.8:53", "ok"),
        ("::ffff:1.1.1.7:443", "denied"),
        ("2606:4700::1:443", "ok"),
        ("2606:4700::7:443", "denied"),
    ] {
        assert_eq!(ip(&policy, target, NO_OWN), expected, "{target}");
    }
}

#[test]
fn special_addresses_must_be_named() {
    let own = ["10.0.0.5", "5.6.7.8"];
    let special = [
        "10.0.0.1:80",
        "10.0.0.5:80",
        "5.6.7.8:80",
        "127.0.0.1:80",
        "169.254.1.1:80",
        "169.254.169.254:80",
        "100.64.0.1:80",
        "224.0.0.1:80",
        "255.255.255.255:80",
        "0.0.0.0:80",
        "192.0.2.1:80",
        "::ffff:127.0.0.1:80",
        "::1:80",
        "fd00::1:80",
        "64:ff9b::7f00:1:80",
    ];
    for policy in [
        allow(&["0.0.0.0/0", "::/0", "*"]),
        policy(Fallback::Allow, &["0.0.0.0/0", "::/0", "8.0.0.0/5"], &[]),
    ] {
        for target in special {
            assert_eq!(ip(&policy, target, &own), "special-address", "{target}");
        }
        assert_eq!(ip(&policy, "1.1.1.1:80", &own), "ok");
    }
}

#[test]
fn a_named_special_address_is_open() {
    let own = ["10.0.0.5", "5.6.7.8"];
    for (entry, target, expected) in [
        ("10.0.0.0/8", "10.0.0.1:80", "ok"),
        ("10.0.0.0/7", "10.0.0.1:80", "special-address"),
        ("10.0.0.0/8:81", "10.0.0.1:80", "special-address"),
        ("10.0.0.0/8", "10.0.0.5:80", "special-address"),
        ("10.0.0.5", "10.0.0.5:80", "ok"),
        ("5.6.7.0/24", "5.6.7.8:80", "special-address"),
        ("5.6.7.8:80", "5.6.7.8:80", "ok"),
        ("127.0.0.0/8", "127.0.0.1:80", "ok"),
        ("127.0.0.2", "127.0.0.2:80", "ok"),
        ("127.0.0.2", "127.0.0.3:80", "special-address"),
        ("::ffff:127.0.0.2", "127.0.0.2:80", "ok"),
        ("127.0.0.2", "::ffff:127.0.0.2:80", "ok"),
        ("169.254.0.0/16", "169.254.1.1:80", "ok"),
        ("169.254.0.0/16", "169.254.169.254:80", "special-address"),
        ("169.254.169.254", "169.254.169.254:80", "ok"),
        ("100.64.0.0/10", "100.100.100.200:80", "special-address"),
        ("168.63.129.0/24", "168.63.129.16:80", "special-address"),
        ("fd00::/8", "fd00::1:80", "ok"),
        ("fd00::/8", "fd00:ec2::254:80", "special-address"),
    ] {
        assert_eq!(
            ip(&allow(&[entry]), target, &own),
            expected,
            "{entry} {target}"
        );
    }
}

#[test]
fn a_name_that_stands_for_a_special_address_is_refused_like_it() {
    let own = ["10.0.0.5", "5.6.7.8"];
    let policy = policy(
        Fallback::Allow,
        &[
            "public.example",
            "db.example:443+private",
            "*.corp.example+private",
            "10.1.0.0/16",
        ],
        &["9.9.9.0/24"],
    );
    for (name, address, expected) in [
        ("public.example", "1.1.1.1", "ok"),
        ("public.example", "10.0.0.1", "special-address"),
        ("public.example", "10.0.0.5", "special-address"),
        ("public.example", "127.0.0.1", "special-address"),
        ("public.example", "::ffff:127.0.0.1", "special-address"),
        ("public.example", "169.254.169.254", "special-address"),
        ("public.example", "192.0.2.1", "special-address"),
        ("public.example", "9.9.9.9", "denied"),
        ("public.example", "10.1.2.3", "ok"),
        ("db.example", "10.0.0.1", "ok"),
        ("db.example", "10.0.0.5", "ok"),
        ("db.example", "5.6.7.8", "ok"),
        ("db.example", "127.0.0.1", "ok"),
        ("db.example", "100.64.0.1", "ok"),
        ("db.example", "fd00::1", "ok"),
        ("db.example", "169.254.169.254", "special-address"),
        ("db.example", "169.254.1.1", "special-address"),
        ("db.example", "100.100.100.200", "special-address"),
        ("db.example", "224.0.0.1", "special-address"),
        ("db.example", "0.0.0.0", "special-address"),
        ("db.example", "9.9.9.9", "denied"),
        ("a.corp.example", "192.168.0.1", "ok"),
        ("corp.example", "192.168.0.1", "special-address"),
    ] {
        assert_eq!(
            rebound(&policy, name, address, &own),
            expected,
            "{name} {address}"
        );
    }
}

#[test]
fn private_of_one_port_is_not_private_of_another() {
    let policy = allow(&["db.example:5432+private", "db.example:443"]);
    assert_eq!(
        rebound(&policy, "db.example", "10.0.0.1", NO_OWN),
        "special-address"
    );
}

#[test]
fn inspection_is_asked_for_by_name_or_address() {
    let policy = allow(&["a.example:443+inspect", "b.example", "1.1.1.1+inspect"]);
    let target = |name: &str, port| Target::name(name.parse().unwrap(), port);
    assert!(policy.inspects(&target("a.example", 443)));
    assert!(!policy.inspects(&target("a.example", 8443)));
    assert!(!policy.inspects(&target("b.example", 443)));
    assert!(policy.inspects(&Target::ip("1.1.1.1".parse().unwrap(), 443)));
}

#[test]
fn a_wrong_entry_is_named() {
    let spec = |allow: &[&str], deny: &[&str]| PolicySpec {
        fallback: Fallback::Deny,
        allow: allow.iter().map(|&s| s.into()).collect(),
        deny: deny.iter().map(|&s| s.into()).collect(),
    };
    let error = Policy::parse(&spec(&["ok.example", "127.1"], &[])).unwrap_err();
    assert_eq!(error.to_string(), "entry \"127.1\" of the allow list");
    let error = Policy::parse(&spec(&[], &["a.example+private"])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "entry \"a.example+private\" of the deny list"
    );
    let many = vec!["a.example".to_owned(); MAX_ENTRIES + 1];
    let error = Policy::parse(&PolicySpec {
        allow: many,
        ..PolicySpec::default()
    })
    .unwrap_err();
    assert_eq!(error, PolicyError::TooMany(MAX_ENTRIES + 1));
}

#[tokio::test]
async fn a_live_policy_tells_of_its_end() {
    let live = LivePolicy::new(allow(&["a.example"]));
    let name: HostName = "a.example".parse().unwrap();
    let waiting = tokio::spawn({
        let (live, name) = (live.clone(), name.clone());
        async move {
            live.until_refused(|policy| policy.check(&name, 443).is_ok())
                .await
        }
    });
    live.replace(allow(&["a.example", "b.example"]));
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    live.replace(allow(&["b.example"]));
    waiting.await.unwrap();
    assert!(live.load().check(&name, 443).is_err());
}
