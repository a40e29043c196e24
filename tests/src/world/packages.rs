//! A package index (PEP 503) with one wheel, for those who have [`KEY`](super::guard::KEY) as their password.

use std::io::{Cursor, Write};

use hyper::header::CONTENT_TYPE;
use hyper::{Response, StatusCode};
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::guard;
use super::record::Seen;
use super::web::{Answer, full};

/// The package's name; its module has an underscore.
pub const PACKAGE: &str = "thaw-greeting";
/// What the module's `WORDS` are.
pub const WORDS: &str = "installed through the proxy";

/// Below this path.
pub const INDEX: &str = "/simple";

const PAGE: &str = "/simple/thaw-greeting/";
const WHEEL: &str = "/simple/thaw-greeting/thaw_greeting-1.0-py3-none-any.whl";

/// Answers what is asked below [`INDEX`].
pub fn answer(seen: &Seen) -> crate::Result<Answer> {
    if !guard::has_key(seen) {
        return guard::refusal();
    }
    let (status, kind, body) = match seen.path.as_str() {
        PAGE => (StatusCode::OK, "text/html", page()?.into_bytes()),
        WHEEL => (StatusCode::OK, "application/zip", wheel()?),
        _ => (StatusCode::NOT_FOUND, "text/plain", Vec::new()),
    };
    let answer = Response::builder().status(status);
    Ok(answer.header(CONTENT_TYPE, kind).body(full(body))?)
}

/// Installers check the digest: they see when a byte of the wheel is another.
fn page() -> crate::Result<String> {
    let digest = hex::encode(Sha256::digest(wheel()?));
    Ok(format!(
        "<!DOCTYPE html><html><body><a href=\"{WHEEL}#sha256={digest}\">1.0</a></body></html>"
    ))
}

fn wheel() -> crate::Result<Vec<u8>> {
    let mut wheel = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let module = format!("WORDS = {WORDS:?}\n");
    for (name, content) in [
        ("thaw_greeting.py", module.as_str()),
        (
            "thaw_greeting-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: thaw-greeting\nVersion: 1.0\n",
        ),
        (
            "thaw_greeting-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        ),
        (
            "thaw_greeting-1.0.dist-info/RECORD",
            "thaw_greeting.py,,\nthaw_greeting-1.0.dist-info/METADATA,,\n\
             thaw_greeting-1.0.dist-info/WHEEL,,\nthaw_greeting-1.0.dist-info/RECORD,,\n",
        ),
    ] {
        wheel.start_file(name, options)?;
        wheel.write_all(content.as_bytes())?;
    }
    Ok(wheel.finish()?.into_inner())
}
