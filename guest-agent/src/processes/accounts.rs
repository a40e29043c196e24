//! Users and groups of the sandbox, read from its own `/etc/passwd` and `/etc/group`.
//!
//! The agent is linked statically and cannot load the C library's name services; these two files are
//! what a sandbox image has. They are read anew each time, because the sandbox may change them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid};
use tonic::Status;

use crate::status::invalid;

/// The part of each file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A user and a group as a request names them, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// Supplementary groups of one user; the kernel's own limit is 65,536.
const MAX_GROUPS: usize = 1024;

/// Whom a program runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The user's name, or its number when it has none.
    pub name: String,
    /// User id.
    pub uid: Uid,
    /// Primary group.
    pub gid: Gid,
    /// Supplementary groups.
    pub groups: Vec<Gid>,
    /// Home directory; `/` for a user that is not in the file.
    pub home: PathBuf,
    /// Login shell.
    pub shell: String,
}

/// Where accounts come from, and who is meant when nobody is named.
#[derive(Debug, Clone)]
pub struct Accounts {
    etc: PathBuf,
    default_user: String,
}

impl Accounts {
    /// Reads the files in `etc`; an empty user specification means `default_user`.
    pub fn new(etc: impl Into<PathBuf>, default_user: impl Into<String>) -> Self {
        Self {
            etc: etc.into(),
            default_user: default_user.into(),
        }
    }

    /// Looks up `user`, `uid`, `user:group`, `uid:gid`, or nothing.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a name that the sandbox does not have.
    pub fn find(&self, specification: &str) -> Result<Account, Status> {
        let named = if specification.is_empty() {
            &self.default_user
        } else {
            specification
        };
        if named.len() > MAX_NAME_BYTES {
            return Err(invalid(
                "user",
                format!("longer than {MAX_NAME_BYTES} bytes"),
            ));
        }
        let (user, group) = match named.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (named, None),
        };
        let passwd = self.read("passwd");
        let groups = self.read("group");
        let mut account = find_user(&passwd, user)
            .ok_or_else(|| invalid("user", format!("the sandbox has no user {user:?}")))?;
        account.groups = groups_of(&groups, &account);
        if let Some(group) = group {
            let gid = find_group(&groups, group)
                .ok_or_else(|| invalid("user", format!("the sandbox has no group {group:?}")))?;
            account.gid = gid;
            account.groups = vec![gid];
        }
        Ok(account)
    }

    /// A file that cannot be read has no entries: numbers still work.
    fn read(&self, name: &str) -> String {
        read_at_most(&self.etc.join(name)).unwrap_or_default()
    }
}

fn read_at_most(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    if path.metadata()?.is_file() {
        File::open(path)?
            .take(MAX_FILE_BYTES)
            .read_to_end(&mut bytes)?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `name:password:uid:gid:comment:home:shell`
fn find_user(passwd: &str, wanted: &str) -> Option<Account> {
    let number = wanted.parse::<u32>().ok();
    let entry = |by_name: bool| {
        passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let &[name, _, uid, gid, _, home, shell] = fields.as_slice() else {
                return None;
            };
            let uid = uid.parse::<u32>().ok()?;
            let matches = if by_name {
                name == wanted
            } else {
                Some(uid) == number
            };
            matches.then_some(())?;
            Some(Account {
                name: name.to_owned(),
                uid: Uid::from_raw(uid),
                gid: Gid::from_raw(gid.parse().ok()?),
                groups: Vec::new(),
                home: PathBuf::from(if home.is_empty() { "/" } else { home }),
                shell: if shell.is_empty() { "/bin/sh" } else { shell }.to_owned(),
            })
        })
    };
    entry(true)
        .or_else(|| entry(false))
        .or_else(|| unlisted(number?))
}

/// A number without an entry is a user of its own group, not of root's.
fn unlisted(number: u32) -> Option<Account> {
    if number == u32::MAX {
        return None; // "no change" to the kernel
    }
    let (name, home) = match number {
        0 => ("root".to_owned(), "/root"),
        _ => (number.to_string(), "/"),
    };
    Some(Account {
        name,
        uid: Uid::from_raw(number),
        gid: Gid::from_raw(number),
        groups: Vec::new(),
        home: PathBuf::from(home),
        shell: "/bin/sh".to_owned(),
    })
}

/// `name:password:gid:member,member`
fn group_entries(groups: &str) -> impl Iterator<Item = (&str, Gid, &str)> {
    groups.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let &[name, _, gid, members] = fields.as_slice() else {
            return None;
        };
        Some((name, Gid::from_raw(gid.parse().ok()?), members))
    })
}

fn find_group(groups: &str, wanted: &str) -> Option<Gid> {
    let number = || {
        wanted
            .parse::<u32>()
            .ok()
            .filter(|number| *number != u32::MAX)
    };
    group_entries(groups)
        .find(|(name, _, _)| *name == wanted)
        .map(|(_, gid, _)| gid)
        .or_else(|| number().map(Gid::from_raw))
}

fn groups_of(groups: &str, account: &Account) -> Vec<Gid> {
    let mut found = vec![account.gid];
    for (_, gid, members) in group_entries(groups) {
        let member = members.split(',').any(|member| member == account.name);
        if member && !found.contains(&gid) && found.len() < MAX_GROUPS {
            found.push(gid);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> (tempfile::TempDir, Accounts) {
        let etc = tempfile::tempdir().unwrap();
        let passwd = "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1001::/home/ann:\nbroken:x\n";
        std::fs::write(etc.path().join("passwd"), passwd).unwrap();
        std::fs::write(
            etc.path().join("group"),
            "wheel:x:10:bob,ann\nann:x:1001:\n",
        )
        .unwrap();
        let accounts = Accounts::new(etc.path(), "ann");
        (etc, accounts)
    }

    #[test]
    fn names_numbers_and_nothing() {
        let (_etc, accounts) = accounts();
        let ann = accounts.find("ann").unwrap();
        assert_eq!(ann.gid, Gid::from_raw(1001));
        assert_eq!(ann.groups, vec![Gid::from_raw(1001), Gid::from_raw(10)]);
        assert_eq!(accounts.find("").unwrap(), ann);
        assert_eq!(accounts.find("1000").unwrap(), ann);
        assert_eq!(accounts.find("ann:wheel").unwrap().gid, Gid::from_raw(10));
        assert_eq!(
            accounts.find("ann:77").unwrap().groups,
            vec![Gid::from_raw(77)]
        );
        assert_eq!(accounts.find("4242").unwrap().home, PathBuf::from("/"));
    }

    #[test]
    fn strangers_are_refused() {
        let (_etc, accounts) = accounts();
        for user in [
            "nobody-here",
            "broken",
            "ann:nogroup",
            "4294967295",
            "-1",
            ":",
        ] {
            assert!(accounts.find(user).is_err(), "{user}");
        }
    }

    #[test]
    fn without_files_root_is_still_root() {
        let accounts = Accounts::new("/nonexistent", "0");
        assert_eq!(accounts.find("").unwrap().home, PathBuf::from("/root"));
    }
}
