//! The authority that vouches for the hosts whose TLS the egress proxy opens, in the places where programs look.
//!
//! It is a file of its own, from which `update-ca-certificates` makes the bundle anew, and the last entry of the
//! bundle. Every restore brings another one, which takes the place of the last: only the end of the bundle is written,
//! because the rest of it is the same for all clones and costs time at the barrier.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The largest certificate that is taken, in bytes of PEM; one of P-256 has below 1 KiB.
const MAX_PEM_BYTES: usize = 8 << 10;

/// The certificate alone. `NODE_EXTRA_CA_CERTS` and `DENO_CERT` name it.
const CERTIFICATE: &str = "usr/local/share/ca-certificates/thaw-sandbox.crt";
/// All certificates. `SSL_CERT_FILE` and its relatives name it.
const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";

/// Stands before our certificate in the bundle.
const MARK: &[u8] = b"# Thaw sandbox authority\n";

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// One certificate, as PEM text that ends with a line break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority(String);

impl Authority {
    /// Takes PEM text; `None` when it is not one certificate of at most 8 KiB. Whether it is a good one is for those to
    /// find who use it.
    pub fn new(pem: String) -> Option<Self> {
        let text = pem.trim();
        let inner = text.strip_prefix(BEGIN)?.strip_suffix(END)?;
        let base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=\r\n".contains(&byte);
        let good = pem.len() <= MAX_PEM_BYTES && inner.bytes().all(base64);
        good.then(|| Self(format!("{text}\n")))
    }

    /// Writes it into the store below `root`.
    pub(super) fn install(&self, root: &Path) -> io::Result<()> {
        for path in [CERTIFICATE, BUNDLE] {
            if let Some(directory) = root.join(path).parent() {
                fs::create_dir_all(directory)?;
            }
        }
        let mut own = open(&root.join(CERTIFICATE))?;
        own.set_len(0)?;
        own.write_all(self.0.as_bytes())?;
        self.end_bundle(&mut open(&root.join(BUNDLE))?)
    }

    fn end_bundle(&self, bundle: &mut File) -> io::Result<()> {
        let length = bundle.metadata()?.len();
        let tail = length.min((MARK.len() + MAX_PEM_BYTES) as u64);
        bundle.seek(SeekFrom::Start(length - tail))?;
        let mut end = Vec::new();
        bundle.take(tail).read_to_end(&mut end)?;
        let ours = end.windows(MARK.len()).rposition(|bytes| bytes == MARK);
        let keep = match ours {
            Some(at) => length - (end.len() - at) as u64,
            None => length,
        };
        bundle.seek(SeekFrom::Start(keep))?;
        let broken_line = keep > 0 && ours.is_none() && !end.ends_with(b"\n");
        let entry = [
            if broken_line { b"\n".as_slice() } else { b"" },
            MARK,
            self.0.as_bytes(),
        ];
        bundle.write_all(&entry.concat())?;
        let written = bundle.stream_position()?;
        bundle.set_len(written)
    }
}

/// Never through a link that the sandbox has put there, and without waiting for a FIFO's reader.
fn open(path: &Path) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(body: &str) -> Authority {
        Authority::new(format!("{BEGIN}\n{body}\n{END}")).unwrap()
    }

    fn bundle(root: &Path) -> String {
        fs::read_to_string(root.join(BUNDLE)).unwrap()
    }

    #[test]
    fn the_next_one_takes_the_place_of_the_last() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc/ssl/certs")).unwrap();
        fs::write(root.path().join(BUNDLE), "distribution's own").unwrap();
        for body in ["first+and+longer", "second"] {
            authority(body).install(root.path()).unwrap();
            let expected =
                format!("distribution's own\n# Thaw sandbox authority\n{BEGIN}\n{body}\n{END}\n");
            assert_eq!(bundle(root.path()), expected);
            let own = fs::read_to_string(root.path().join(CERTIFICATE)).unwrap();
            assert_eq!(own, format!("{BEGIN}\n{body}\n{END}\n"));
        }
    }

    #[test]
    fn an_image_without_a_store_gets_one() {
        let root = tempfile::tempdir().unwrap();
        authority("one").install(root.path()).unwrap();
        assert!(bundle(root.path()).starts_with("# Thaw sandbox authority\n-----BEGIN"));
    }

    #[test]
    fn what_is_no_file_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        authority("one").install(root.path()).unwrap();
        let at = root.path().join(BUNDLE);
        fs::remove_file(&at).unwrap();
        nix::unistd::mkfifo(&at, nix::sys::stat::Mode::S_IRWXU).unwrap();
        authority("two").install(root.path()).unwrap_err();
        fs::remove_file(&at).unwrap();
        std::os::unix::fs::symlink("/dev/null", &at).unwrap();
        authority("two").install(root.path()).unwrap_err();
    }

    #[test]
    fn only_one_certificate_is_taken() {
        for bad in [
            String::new(),
            format!("{BEGIN}\nAAAA\n"),
            format!("{BEGIN}\nAAAA\n{END}\n{BEGIN}\nAAAA\n{END}"),
            format!("{BEGIN}\n{}\n{END}", "A".repeat(MAX_PEM_BYTES)),
            format!("{BEGIN}\nA#A\n{END}"),
        ] {
            assert_eq!(Authority::new(bad), None);
        }
    }
}
