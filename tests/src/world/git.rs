//! A git repository of one commit, as the smart protocol of HTTP serves it, to those who have [`KEY`] as their password.
//!
//! Of the protocol (`gitprotocol-http`, `gitprotocol-pack`) there is version 0, and no capability: the one branch is told,
//! and whatever is asked for, the answer is a pack of all objects.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use hyper::header::CONTENT_TYPE;
use hyper::{Response, StatusCode};
use sha1::{Digest, Sha1};

use super::guard;
use super::record::Seen;
use super::web::{Answer, full};

/// The clone's only file.
pub const FILE: &str = "README";
/// What is in it.
pub const CONTENT: &str = "cloned through the proxy\n";

/// Below this path.
pub const REPOSITORY: &str = "/repository.git";

/// What a pack calls its kinds of objects.
const COMMIT: u8 = 1;
const TREE: u8 = 2;
const BLOB: u8 = 3;

/// Ends a list of lines.
const FLUSH: &[u8] = b"0000";

/// Answers what is asked below [`REPOSITORY`].
pub fn answer(seen: &Seen) -> crate::Result<Answer> {
    if !guard::has_key(seen) {
        return guard::refusal();
    }
    let repository = Repository::new()?;
    let answer = |kind: &str, body: Vec<u8>| {
        let kind = format!("application/x-git-upload-pack-{kind}");
        let answer = guard::echo(Response::builder(), seen);
        Ok(answer.header(CONTENT_TYPE, kind).body(full(body))?)
    };
    match seen.path.strip_prefix(REPOSITORY) {
        Some("/info/refs?service=git-upload-pack") => {
            answer("advertisement", repository.advertisement())
        }
        Some("/git-upload-pack") => answer("result", [line("NAK\n"), repository.pack].concat()),
        _ => Ok(Response::builder()
            .status(StatusCode::NOT_FOUND)
            .body(full(""))?),
    }
}

struct Repository {
    head: String,
    pack: Vec<u8>,
}

impl Repository {
    fn new() -> crate::Result<Self> {
        let blob = CONTENT.as_bytes();
        let entry = format!("100644 {FILE}\0");
        let tree = [entry.as_bytes(), &name("blob", blob)].concat();
        let who = "Somebody <somebody@thaw.example> 0 +0000";
        let of = hex::encode(name("tree", &tree));
        let commit = format!("tree {of}\nauthor {who}\ncommitter {who}\n\nThe only one\n");
        let mut pack = [b"PACK".as_slice(), &2u32.to_be_bytes(), &3u32.to_be_bytes()].concat();
        for (kind, content) in [(COMMIT, commit.as_bytes()), (TREE, &tree), (BLOB, blob)] {
            pack.extend(packed(kind, content)?);
        }
        let check = Sha1::digest(&pack);
        pack.extend(check);
        Ok(Self {
            head: hex::encode(name("commit", commit.as_bytes())),
            pack,
        })
    }

    fn advertisement(&self) -> Vec<u8> {
        let head = &self.head;
        [
            &line("# service=git-upload-pack\n"),
            FLUSH,
            &line(&format!("{head} HEAD\0symref=HEAD:refs/heads/main\n")),
            &line(&format!("{head} refs/heads/main\n")),
            FLUSH,
        ]
        .concat()
    }
}

/// An object's name.
fn name(kind: &str, content: &[u8]) -> [u8; 20] {
    let mut digest = Sha1::new();
    digest.update(format!("{kind} {}\0", content.len()));
    digest.update(content);
    digest.finalize().into()
}

/// An object in a pack: kind and length in groups of bits, the lowest first, four in the first byte and seven in the others.
fn packed(kind: u8, content: &[u8]) -> crate::Result<Vec<u8>> {
    let mut left = content.len();
    let mut head = vec![kind << 4 | (left & 0xf) as u8];
    left >>= 4;
    while left > 0 {
        if let Some(last) = head.last_mut() {
            *last |= 0x80;
        }
        head.push((left & 0x7f) as u8);
        left >>= 7;
    }
    let mut packed = ZlibEncoder::new(head, Compression::default());
    packed.write_all(content)?;
    Ok(packed.finish()?)
}

/// A line with its length before it.
fn line(text: &str) -> Vec<u8> {
    format!("{:04x}{text}", text.len() + 4).into_bytes()
}
