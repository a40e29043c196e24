//! Where a copy comes from or goes to, as written on the command line.

use std::path::PathBuf;
use std::str::FromStr;

/// One end of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// `-`
    Standard,
    /// A path on this machine.
    Here(PathBuf),
    /// `SANDBOX:PATH`
    Sandbox { sandbox: String, path: String },
}

impl FromStr for Location {
    type Err = String;

    /// A colon before any slash makes it a sandbox's path, as with scp: `./a:b` is here.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            _ if text == "-" => Ok(Self::Standard),
            Some((sandbox, path)) if !sandbox.contains('/') && !sandbox.is_empty() => {
                if !path.starts_with('/') {
                    return Err(format!("{path:?}: paths of a sandbox begin with a slash"));
                }
                Ok(Self::Sandbox {
                    sandbox: sandbox.to_owned(),
                    path: path.to_owned(),
                })
            }
            _ if text.is_empty() => Err("empty path".to_owned()),
            _ => Ok(Self::Here(text.into())),
        }
    }
}

/// The last name of an absolute path; none for the root.
pub fn file_name(path: &str) -> Option<&str> {
    let name = path.trim_end_matches('/').rsplit('/').next()?;
    Some(name).filter(|name| !matches!(*name, "" | "." | ".."))
}

/// A path below another.
pub fn join(directory: &str, name: &str) -> String {
    format!("{}/{name}", directory.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn here_or_there() {
        let there = |path: &str| Location::Sandbox {
            sandbox: "sbx_1".to_owned(),
            path: path.to_owned(),
        };
        assert_eq!("sbx_1:/a:b".parse(), Ok(there("/a:b")));
        assert_eq!(
            "./sbx_1:/a".parse(),
            Ok(Location::Here("./sbx_1:/a".into()))
        );
        assert_eq!("-".parse(), Ok(Location::Standard));
        assert!("sbx_1:a".parse::<Location>().is_err());
        assert!("".parse::<Location>().is_err());
    }

    #[test]
    fn names() {
        assert_eq!(file_name("/a/b/"), Some("b"));
        assert_eq!(file_name("/"), None);
        assert_eq!(file_name("/a/.."), None);
        assert_eq!(join("/", "a"), "/a");
        assert_eq!(join("/a/", "b"), "/a/b");
    }
}
