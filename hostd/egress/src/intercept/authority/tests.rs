use std::process::Command;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::UnixTime;

use super::*;

fn host(name: &str) -> ServerName<'static> {
    ServerName::try_from(name.to_owned()).unwrap()
}

fn verify(authority: &Authority, leaf: &CertifiedKey, name: &str) -> Result<(), rustls::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.certificate_der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .unwrap();
    verifier
        .verify_server_cert(&leaf.cert[0], &[], &host(name), &[], UnixTime::now())
        .map(|_| ())
}

#[test]
fn a_leaf_is_for_exactly_its_host() {
    let authority = Authority::generate("box").unwrap();
    let leaf = authority.leaf(&host("api.example.com")).unwrap();
    verify(&authority, &leaf, "api.example.com").unwrap();
    verify(&authority, &leaf, "example.com").unwrap_err();
    verify(&authority, &leaf, "a.api.example.com").unwrap_err();
}

#[test]
fn a_leaf_may_name_an_address() {
    let authority = Authority::generate("box").unwrap();
    let leaf = authority.leaf(&host("192.0.2.77")).unwrap();
    verify(&authority, &leaf, "192.0.2.77").unwrap();
    verify(&authority, &leaf, "192.0.2.78").unwrap_err();
}

#[test]
fn another_sandboxs_authority_is_not_trusted() {
    let (ours, theirs) = (
        Authority::generate("a").unwrap(),
        Authority::generate("b").unwrap(),
    );
    let leaf = ours.leaf(&host("example.com")).unwrap();
    verify(&theirs, &leaf, "example.com").unwrap_err();
}

#[test]
fn leaves_are_remembered_and_bounded() {
    let authority = Authority::generate("box").unwrap();
    let first = authority.leaf(&host("a.example")).unwrap();
    assert!(Arc::ptr_eq(
        &first,
        &authority.leaf(&host("a.example")).unwrap()
    ));
    for n in 0..300 {
        authority.leaf(&host(&format!("n{n}.example"))).unwrap();
    }
    assert!(authority.leaves.lock().unwrap().len() <= 256);
}

#[test]
fn names_of_any_length_are_signed() {
    let authority = Authority::generate(&"long".repeat(100)).unwrap();
    let label = "a".repeat(60);
    let long = format!("{label}.{label}.{label}.example");
    verify(&authority, &authority.leaf(&host(&long)).unwrap(), &long).unwrap();
}

#[test]
fn debug_tells_nothing() {
    let authority = Authority::generate("box").unwrap();
    assert_eq!(format!("{authority:?}"), "Authority { .. }");
}

/// The strictest verifier at hand; a machine without the openssl program skips it.
#[test]
fn openssl_takes_it_strictly() {
    let authority = Authority::generate("box").unwrap();
    let leaf = authority.leaf(&host("api.example.com")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (root, end) = (
        folder.path().join("root.pem"),
        folder.path().join("leaf.der"),
    );
    std::fs::write(&root, authority.certificate_pem()).unwrap();
    std::fs::write(&end, &leaf.cert[0]).unwrap();
    let mut command = Command::new("openssl");
    command.args([
        "verify",
        "-x509_strict",
        "-purpose",
        "sslserver",
        "-verify_hostname",
        "api.example.com",
        "-CAfile",
    ]);
    let Ok(output) = command.arg(&root).arg(&end).output() else {
        eprintln!("skipped: no openssl on this machine");
        return;
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
