//! Which of this machine's apt sources are Debian's own.
//!
//! Packages come from where the machine's administrator says they come from: no address is
//! written in this repository. Other vendors' sources are left out.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// Names a file of sources (`.list` or `.sources`) to be used instead of `/etc/apt`.
pub const OVERRIDE: &str = "THAW_APT_SOURCES";

/// Why there are no sources.
#[derive(Debug, Error)]
pub enum Error {
    /// None of apt's sources has the release.
    #[error("no apt source here has Debian's {suite} main: name a file that has one in {OVERRIDE}")]
    None {
        /// The release that was looked for.
        suite: String,
    },
    /// The files that name the chosen sources could not be written.
    #[error("cannot write the list of apt sources")]
    Io(#[from] io::Error),
}

/// Writes the sources of `suite` and its updates into files in `directory`, and returns these
/// files' paths, for mmdebstrap.
///
/// # Errors
/// [`Error::None`] when this machine has no source for `suite`.
pub fn collect(suite: &str, directory: &Path) -> Result<Vec<PathBuf>, Error> {
    if let Some(path) = std::env::var_os(OVERRIDE) {
        return Ok(vec![path.into()]);
    }
    let mut found = Sources::default();
    for path in candidates() {
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("sources") => found.add_stanzas(&text, suite),
            Some("list") => found.add_lines(&text, suite),
            _ => {}
        }
    }
    found.write(suite, directory)
}

fn candidates() -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::from("/etc/apt/sources.list")];
    let parts = fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten();
    paths.extend(parts.flatten().map(|entry| entry.path()));
    paths.sort();
    paths
}

/// The chosen entries, in the two forms that apt knows.
#[derive(Debug, Default)]
struct Sources {
    lines: String,
    stanzas: String,
}

impl Sources {
    /// Takes Debian's stanzas of a deb822 file. Stanzas are parted by empty lines.
    fn add_stanzas(&mut self, text: &str, suite: &str) {
        for stanza in text.split("\n\n") {
            let field = |name: &str| {
                stanza
                    .lines()
                    .filter_map(|line| line.split_once(':'))
                    .find(|(key, _)| key.eq_ignore_ascii_case(name))
                    .map_or("", |(_, value)| value)
            };
            let has = |name: &str, word: &str| field(name).split_whitespace().any(|w| w == word);
            let suites = field("Suites")
                .split_whitespace()
                .any(|name| is_part_of(name, suite));
            let disabled = field("Enabled").trim().eq_ignore_ascii_case("no");
            if suites
                && !disabled
                && has("Types", "deb")
                && has("Components", "main")
                && is_debians(field("Signed-By"))
            {
                self.stanzas.push_str(stanza.trim());
                self.stanzas.push_str("\n\n");
            }
        }
    }

    /// Takes Debian's lines of a file in the one-line form: `deb [options] URI suite component…`
    fn add_lines(&mut self, text: &str, suite: &str) {
        for line in text.lines() {
            let Some(rest) = line.trim().strip_prefix("deb ") else {
                continue;
            };
            let (options, rest) = match rest.trim_start().strip_prefix('[') {
                Some(rest) => rest.split_once(']').unwrap_or((rest, "")),
                None => ("", rest),
            };
            let signed_by = options
                .split_whitespace()
                .find_map(|option| option.strip_prefix("signed-by="))
                .unwrap_or("");
            let mut words = rest.split_whitespace().skip(1);
            let suites = words.next().is_some_and(|name| is_part_of(name, suite));
            if suites && words.any(|component| component == "main") && is_debians(signed_by) {
                self.lines.push_str(line.trim());
                self.lines.push('\n');
            }
        }
    }

    fn write(&self, suite: &str, directory: &Path) -> Result<Vec<PathBuf>, Error> {
        let files = [
            ("debian.list", &self.lines),
            ("debian.sources", &self.stanzas),
        ];
        let mut paths = Vec::new();
        for (name, text) in files.into_iter().filter(|(_, text)| !text.is_empty()) {
            let path = directory.join(name);
            fs::write(&path, text)?;
            paths.push(path);
        }
        if paths.is_empty() {
            return Err(Error::None {
                suite: suite.to_owned(),
            });
        }
        Ok(paths)
    }
}

/// The release itself, its stable updates and its security updates; no backports.
fn is_part_of(name: &str, suite: &str) -> bool {
    let name = name.split('/').next().unwrap_or(name);
    name.strip_prefix(suite)
        .is_some_and(|rest| ["", "-updates", "-security"].contains(&rest))
}

/// Vendors sign with keys of their own; Debian's source names Debian's keyring or none.
fn is_debians(signed_by: &str) -> bool {
    let signed_by = signed_by.trim();
    signed_by.is_empty() || signed_by.contains("debian-archive")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vendors_are_left_out() {
        let mut sources = Sources::default();
        sources.add_lines(
            "deb [signed-by=/usr/share/keyrings/vendor.gpg] https://packages.example bookworm main\n\
             # deb http://mirror.example/debian bookworm main\n\
             deb http://mirror.example/debian bookworm main contrib\n\
             deb http://mirror.example/debian bookworm-backports main\n\
             deb http://mirror.example/security bookworm-security main\n",
            "bookworm",
        );
        assert_eq!(sources.lines.lines().count(), 2);
    }

    #[test]
    fn stanzas_are_chosen_by_suite_component_and_key() {
        let mut sources = Sources::default();
        sources.add_stanzas(
            "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n\
             Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
             Types: deb\nURIs: https://node.example\nSuites: nodistro\nComponents: main\n\n\
             Types: deb\nURIs: https://off.example\nSuites: bookworm\nComponents: main\nEnabled: no\n",
            "bookworm",
        );
        assert_eq!(sources.stanzas.matches("URIs").count(), 1);
    }

    #[test]
    fn no_source_is_an_error_that_helps() {
        let error = Sources::default()
            .write("bookworm", Path::new("/"))
            .unwrap_err();
        assert!(error.to_string().contains(OVERRIDE));
    }
}
