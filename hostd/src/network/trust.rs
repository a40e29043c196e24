//! Where programs in a sandbox find the authority that signs for the hosts whose TLS is opened.

use std::collections::BTreeMap;

/// The system's certificates, to which the guest's agent adds the authority.
const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The authority alone.
const CERTIFICATE: &str = "/usr/local/share/ca-certificates/thaw-sandbox.crt";

/// Variables of programs that bring certificates of their own, and what they are to use instead or as well.
const VARIABLES: &[(&str, &str)] = &[
    ("SSL_CERT_FILE", BUNDLE),
    ("REQUESTS_CA_BUNDLE", BUNDLE),
    ("CURL_CA_BUNDLE", BUNDLE),
    ("GIT_SSL_CAINFO", BUNDLE),
    ("AWS_CA_BUNDLE", BUNDLE),
    ("CARGO_HTTP_CAINFO", BUNDLE),
    ("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", BUNDLE),
    ("NODE_EXTRA_CA_CERTS", CERTIFICATE),
    ("DENO_CERT", CERTIFICATE),
];

/// The variables of a sandbox with a network, beside which a client's own win.
pub fn variables() -> BTreeMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    VARIABLES.iter().map(owned).collect()
}
