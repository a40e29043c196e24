//! What programs in a sandbox find in their environment: the authority that signs for the hosts whose TLS is opened, and
//! placeholders.

use std::collections::BTreeMap;

use super::ResolvedNetwork;

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

/// The variables of a sandbox with a network: where the authority is, and the secrets' placeholders. A client's own
/// win over them.
pub fn variables(network: &ResolvedNetwork) -> BTreeMap<String, String> {
    let trust = VARIABLES
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let secrets = network.secrets.secrets().iter();
    let placeholders =
        secrets.map(|secret| (secret.name().to_string(), secret.placeholder().to_string()));
    trust.chain(placeholders).collect()
}
