//! Looks for values in bytes, in all the forms that they may have there.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use aho_corasick::AhoCorasick;
use base64::engine::GeneralPurpose;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD, Engine};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use snapshots::memory::MemoryReader;

/// Of a file, at once.
const BUFFER_BYTES: usize = 1 << 20;

/// What was found: pairs of a value's name and a form.
pub type Found = BTreeSet<(&'static str, &'static str)>;

/// What is looked for.
#[derive(Debug)]
pub struct Scanner {
    automaton: AhoCorasick,
    /// Which value each pattern is, and in which form.
    patterns: Vec<(&'static str, &'static str)>,
    longest: usize,
}

impl Scanner {
    /// Looks for these values, which have names.
    pub fn new(values: &[(&'static str, &[u8])]) -> crate::Result<Self> {
        let (mut patterns, mut bytes) = (Vec::new(), Vec::new());
        for (name, value) in values {
            for (form, pattern) in forms(value) {
                patterns.push((*name, form));
                bytes.push(pattern);
            }
        }
        Ok(Self {
            automaton: AhoCorasick::new(&bytes)?,
            patterns,
            longest: bytes.iter().map(Vec::len).max().unwrap_or_default(),
        })
    }

    /// What is in these bytes.
    pub fn bytes(&self, bytes: &[u8]) -> Found {
        let mut pass = self.pass();
        pass.feed(bytes);
        pass.found
    }

    /// What is in a file, whose holes are skipped.
    pub fn file(&self, path: &Path) -> crate::Result<Found> {
        let mut file = File::open(path)?;
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut pass = self.pass();
        let mut end = 0;
        while let Some(start) = sought(seek(&file, SeekFrom::Data(end)))? {
            end = seek(&file, SeekFrom::Hole(start))?;
            file.seek(io::SeekFrom::Start(start))?;
            let mut extent = (&file).take(end - start);
            loop {
                let read = extent.read(&mut buffer)?;
                if read == 0 {
                    break;
                }
                pass.feed(&buffer[..read]);
            }
        }
        Ok(pass.found)
    }

    /// What is in a guest's memory.
    pub fn memory(&self, memory: &MemoryReader) -> crate::Result<Found> {
        let mut chunks = memory.chunks()?;
        let mut pass = self.pass();
        for chunk in 0..memory.chunk_count() {
            for (_, run) in chunks.pages(chunk)?.runs() {
                pass.feed(run);
            }
        }
        Ok(pass.found)
    }

    fn pass(&self) -> Pass<'_> {
        Pass {
            scanner: self,
            unread: Vec::new(),
            found: Found::new(),
        }
    }
}

/// Bytes of one place, in any number of pieces.
struct Pass<'a> {
    scanner: &'a Scanner,
    /// The end of the last piece: a pattern may have begun there.
    unread: Vec<u8>,
    found: Found,
}

impl Pass<'_> {
    fn feed(&mut self, piece: &[u8]) {
        self.unread.extend_from_slice(piece);
        for hit in self.scanner.automaton.find_iter(&self.unread) {
            self.found.insert(self.scanner.patterns[hit.pattern()]);
        }
        let kept = self.unread.len().min(self.scanner.longest - 1);
        self.unread.drain(..self.unread.len() - kept);
    }
}

/// Behind the last data there is none.
fn sought(position: Result<u64, Errno>) -> Result<Option<u64>, Errno> {
    match position {
        Err(Errno::NXIO) => Ok(None),
        other => other.map(Some),
    }
}

/// A value as it may stand among other bytes.
fn forms(value: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex = hex::encode(value);
    let wide = value.iter().flat_map(|byte| [*byte, 0]).collect();
    let mut forms = vec![
        ("plain", value.to_vec()),
        ("hex, upper case", hex.to_uppercase().into_bytes()),
        ("hex", hex.into_bytes()),
        ("UTF-16", wide),
    ];
    for (name, engine) in [
        ("base64", &BASE64_STANDARD_NO_PAD),
        ("base64 of URLs", &BASE64_URL_SAFE_NO_PAD),
    ] {
        forms.extend((0..3).map(|before| (name, base64(value, before, engine))));
    }
    forms
}

/// The digits that only the value has a part in, when so many other bytes are before it.
fn base64(value: &[u8], before: usize, engine: &GeneralPurpose) -> Vec<u8> {
    const BITS: usize = 6;
    let bytes = [&vec![0; before], value].concat();
    let mut digits = engine.encode(&bytes).into_bytes();
    digits.truncate(bytes.len() * 8 / BITS);
    digits.drain(..(before * 8).div_ceil(BITS));
    digits
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use base64::prelude::BASE64_STANDARD;

    use super::*;

    const VALUE: &[u8] = b"a-value?of>some~length";

    fn scanner() -> Scanner {
        Scanner::new(&[("it", VALUE)]).unwrap()
    }

    #[test]
    fn every_form_is_found_wherever_it_is() {
        let text = String::from_utf8(VALUE.to_vec()).unwrap();
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let cases = [
            ("plain", VALUE.to_vec()),
            ("hex", hex::encode(VALUE).into_bytes()),
            ("hex, upper case", hex::encode_upper(VALUE).into_bytes()),
            ("UTF-16", wide),
        ];
        for (form, bytes) in cases {
            let found = scanner().bytes(&[b"before", bytes.as_slice(), b"after"].concat());
            assert_eq!(found, Found::from([("it", form)]));
        }
        for before in 0..6 {
            let all = [&b"before"[..before], VALUE, b"after"].concat();
            let found = scanner().bytes(BASE64_STANDARD.encode(all).as_bytes());
            assert!(found.contains(&("it", "base64")), "{before}");
        }
        assert!(scanner().bytes(&VALUE[1..]).is_empty());
    }

    #[test]
    fn a_value_in_two_pieces_is_found() {
        let scanner = scanner();
        for cut in 0..VALUE.len() {
            let mut pass = scanner.pass();
            pass.feed(&VALUE[..cut]);
            pass.feed(&VALUE[cut..]);
            assert_eq!(pass.found.len(), 1, "{cut}");
        }
    }

    #[test]
    fn holes_are_skipped_and_what_is_behind_them_is_found() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 40).unwrap();
        file.seek(io::SeekFrom::Start(1 << 39)).unwrap();
        file.write_all(VALUE).unwrap();
        assert_eq!(scanner().file(file.path()).unwrap().len(), 1);
    }
}
