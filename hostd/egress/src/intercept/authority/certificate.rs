//! What the authority's and the leaves' certificates say.
//!
//! Both are made so that the strictest common verifiers take them: OpenSSL 3 with
//! `X509_V_FLAG_X509_STRICT` (Python 3.13's default), Go, Node, GnuTLS and rustls.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::pki_types::ServerName;
use time::{Duration, OffsetDateTime};

use super::AuthorityError;

/// The authority's common name, as a guest's certificate viewer shows it.
const AUTHORITY_NAME: &str = "Thaw sandbox CA";
/// Guests' clocks may lag, so nothing becomes valid only now.
const BACKDATED: Duration = Duration::days(1);
/// A snapshot with the authority installed may be restored for years.
const AUTHORITY_LIFE: Duration = Duration::days(3650);
/// Clients refuse leaves of more than 398 days; a process of the guest seldom sees one twice.
pub(super) const LEAF_LIFE: Duration = Duration::days(30);
/// X.520's upper bound of names in a subject, in characters.
const MAX_NAME: usize = 64;

/// The authority's own certificate; `sandbox` tells one sandbox's authority from another's.
pub(super) fn authority(
    sandbox: &str,
    now: OffsetDateTime,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = blank(now, AUTHORITY_LIFE)?;
    params
        .distinguished_name
        .push(DnType::CommonName, AUTHORITY_NAME);
    params.distinguished_name.push(
        DnType::OrganizationName,
        sandbox.chars().take(MAX_NAME).collect::<String>(),
    );
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// A leaf for exactly `host`.
pub(super) fn leaf(
    host: &ServerName<'_>,
    now: OffsetDateTime,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = blank(now, LEAF_LIFE)?;
    let text = host.to_str();
    if text.len() <= MAX_NAME {
        params
            .distinguished_name
            .push(DnType::CommonName, text.as_ref());
    } else {
        // Verifiers look at the alternative name only, but an empty subject needs more of them.
        params
            .distinguished_name
            .push(DnType::CommonName, AUTHORITY_NAME);
    }
    params.subject_alt_names = vec![alternative_name(host)?];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn blank(now: OffsetDateTime, life: Duration) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.not_before = now.saturating_sub(BACKDATED);
    params.not_after = now.saturating_add(life).saturating_sub(BACKDATED);
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(serial()?);
    Ok(params)
}

/// All leaves share one key, from which rcgen would take one serial number for all of them:
/// Firefox and NSS refuse a second certificate with a known issuer and number.
fn serial() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|_| AuthorityError::Entropy)?;
    // Positive, and of the same length always.
    if let Some(first) = bytes.first_mut() {
        *first = (*first & 0x3f) | 0x40;
    }
    Ok(SerialNumber::from_slice(&bytes))
}

fn alternative_name(host: &ServerName<'_>) -> Result<SanType, AuthorityError> {
    match host {
        ServerName::DnsName(name) => {
            let name = name
                .as_ref()
                .to_owned()
                .try_into()
                .map_err(|_| AuthorityError::Name)?;
            Ok(SanType::DnsName(name))
        }
        ServerName::IpAddress(address) => Ok(SanType::IpAddress(std::net::IpAddr::from(*address))),
        _ => Err(AuthorityError::Name),
    }
}
