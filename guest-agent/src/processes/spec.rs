//! A wire specification becomes a plan that can be executed without further thought.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::Duration;

use nix::pty::Winsize;
use protocol::types::v1 as wire;
use tonic::Status;

use super::{Account, Accounts, MAX_ARGUMENTS, MAX_SPEC_BYTES};
use crate::barrier::Environment;
use crate::status::invalid;

/// Where a program is looked for when its environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The longest path that Linux takes, in bytes.
const MAX_PATH_BYTES: usize = 4096;

/// The longest timeout: ten years. Longer ones overflow timers and mean none.
const MAX_TIMEOUT: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A program that may be started.
#[derive(Debug)]
pub(super) struct Plan {
    /// As the client named it.
    pub(super) program: String,
    /// As the client gave them, without the program itself.
    pub(super) args: Vec<String>,
    /// Files to try, in order.
    pub(super) candidates: Vec<CString>,
    /// `argv`, the program's name first.
    pub(super) argv: Vec<CString>,
    /// `NAME=value`.
    pub(super) envp: Vec<CString>,
    pub(super) account: Account,
    pub(super) cwd: CString,
    /// Nobody asked for this directory: `/` will do when it cannot be entered.
    pub(super) cwd_is_home: bool,
    pub(super) timeout: Option<Duration>,
    pub(super) streams: Streams,
    pub(super) kill_on_disconnect: bool,
}

/// What a program's descriptors 0, 1 and 2 are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Streams {
    /// A terminal of this size is all three.
    Pty(Winsize),
    /// Pipes, or `/dev/null` where false.
    Pipes {
        stdin: bool,
        stdout: bool,
        stderr: bool,
    },
}

impl Plan {
    /// Validates a specification.
    pub(super) fn new(
        spec: wire::ProcessSpec,
        sandbox: &Environment,
        accounts: &Accounts,
    ) -> Result<Self, Status> {
        let account = accounts.find(&spec.user)?;
        let own = crate::barrier::environment("env", spec.env)?;
        let streams = streams(spec.pty, spec.stdin, spec.stdout, spec.stderr)?;
        let pty = matches!(streams, Streams::Pty(_));
        let environment = merge(&account, pty, sandbox, own, spec.clear_env);
        check_size(&spec.program, &spec.args, &environment)?;
        let path = environment.get("PATH").map_or(DEFAULT_PATH, String::as_str);
        let argv = std::iter::once(&spec.program).chain(&spec.args);
        Ok(Self {
            candidates: candidates(&spec.program, path)?,
            argv: argv
                .map(|arg| c_string("args", arg.as_str()))
                .collect::<Result<_, _>>()?,
            envp: environment
                .iter()
                .map(|(key, value)| c_string("env", format!("{key}={value}")))
                .collect::<Result<_, _>>()?,
            cwd: cwd(&spec.cwd, &account.home)?,
            cwd_is_home: spec.cwd.is_empty(),
            timeout: spec.timeout.map(timeout).transpose()?,
            program: spec.program,
            args: spec.args,
            kill_on_disconnect: spec.kill_on_disconnect,
            account,
            streams,
        })
    }
}

fn c_string(field: &str, text: impl Into<Vec<u8>>) -> Result<CString, Status> {
    CString::new(text).map_err(|_| invalid(field, "holds a zero byte"))
}

fn check_size(program: &str, args: &[String], environment: &Environment) -> Result<(), Status> {
    if args.len() > MAX_ARGUMENTS {
        return Err(invalid("args", format!("more than {MAX_ARGUMENTS}")));
    }
    let args: usize = args.iter().map(|arg| arg.len() + 1).sum();
    let variables: usize = environment
        .iter()
        .map(|(key, value)| key.len() + value.len() + 2)
        .sum();
    if program.len() + args + variables > MAX_SPEC_BYTES {
        return Err(invalid(
            "args",
            format!("more than {MAX_SPEC_BYTES} bytes with the environment"),
        ));
    }
    Ok(())
}

/// Defaults, then what the sandbox was given at the barrier, then what the client gave.
fn merge(
    account: &Account,
    pty: bool,
    sandbox: &Environment,
    own: Environment,
    clear: bool,
) -> Environment {
    if clear {
        return own;
    }
    let text = |value: &str| value.to_owned();
    let mut merged = BTreeMap::from([
        (text("PATH"), text(DEFAULT_PATH)),
        (text("HOME"), account.home.to_string_lossy().into_owned()),
        (text("USER"), account.name.clone()),
        (text("LOGNAME"), account.name.clone()),
        (text("SHELL"), account.shell.clone()),
        (text("LANG"), text("C.UTF-8")),
    ]);
    if pty {
        merged.insert(text("TERM"), text("xterm-256color"));
    }
    merged.extend(sandbox.clone());
    merged.extend(own);
    merged
}

/// The files that `program` may mean, as execvp(3) would try them.
fn candidates(program: &str, path: &str) -> Result<Vec<CString>, Status> {
    if program.is_empty() {
        return Err(invalid("program", "empty"));
    }
    if program.len() > MAX_PATH_BYTES {
        return Err(invalid("program", "longer than a path may be"));
    }
    if program.contains('/') {
        return Ok(vec![c_string("program", program)?]);
    }
    path.split(':')
        .map(|directory| if directory.is_empty() { "." } else { directory })
        .map(|directory| c_string("program", format!("{directory}/{program}")))
        .collect()
}

fn cwd(cwd: &str, home: &Path) -> Result<CString, Status> {
    if cwd.is_empty() {
        return c_string("cwd", home.as_os_str().to_owned().into_vec());
    }
    if !cwd.starts_with('/') {
        return Err(invalid("cwd", "not absolute"));
    }
    c_string("cwd", cwd)
}

fn timeout(timeout: prost_types::Duration) -> Result<Duration, Status> {
    match Duration::try_from(timeout) {
        Ok(timeout) if !timeout.is_zero() && timeout <= MAX_TIMEOUT => Ok(timeout),
        _ => Err(invalid("timeout", "not between 1 ns and ten years")),
    }
}

fn streams(
    pty: Option<wire::PtySize>,
    stdin: bool,
    stdout: i32,
    stderr: i32,
) -> Result<Streams, Status> {
    let (stdout, stderr) = (piped("stdout", stdout)?, piped("stderr", stderr)?);
    match pty {
        Some(size) => Ok(Streams::Pty(window("pty", size)?)),
        None => Ok(Streams::Pipes {
            stdin,
            stdout,
            stderr,
        }),
    }
}

fn piped(field: &str, mode: i32) -> Result<bool, Status> {
    match wire::StreamMode::try_from(mode) {
        Ok(wire::StreamMode::Unspecified | wire::StreamMode::Piped) => Ok(true),
        Ok(wire::StreamMode::Null) => Ok(false),
        Err(_) => Err(invalid(field, "unknown mode")),
    }
}

/// Validates a terminal's size.
pub(super) fn window(field: &str, size: wire::PtySize) -> Result<Winsize, Status> {
    let side = |value: u32| u16::try_from(value).ok().filter(|value| *value > 0);
    let (Some(ws_row), Some(ws_col)) = (side(size.rows), side(size.cols)) else {
        return Err(invalid(field, "rows and columns are 1 to 65535"));
    };
    Ok(Winsize {
        ws_row,
        ws_col,
        ws_xpixel: 0,
        ws_ypixel: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(spec: wire::ProcessSpec) -> Result<Plan, Status> {
        let sandbox = Environment::from([("A".into(), "sandbox".into()), ("B".into(), "b".into())]);
        Plan::new(spec, &sandbox, &Accounts::new("/nonexistent", "0"))
    }

    fn echo() -> wire::ProcessSpec {
        wire::ProcessSpec {
            program: "echo".into(),
            ..Default::default()
        }
    }

    #[test]
    fn the_client_wins_over_the_sandbox_over_the_defaults() {
        let env = [("A".to_owned(), "client".to_owned())].into();
        let plan = plan(wire::ProcessSpec { env, ..echo() }).unwrap();
        let envp: Vec<_> = plan
            .envp
            .iter()
            .map(|entry| entry.to_str().unwrap())
            .collect();
        assert!(
            envp.contains(&"A=client") && envp.contains(&"B=b") && envp.contains(&"HOME=/root")
        );
        assert!(!envp.iter().any(|entry| entry.starts_with("TERM=")));
    }

    #[test]
    fn a_name_is_looked_up_in_the_programs_own_path() {
        let env = [("PATH".to_owned(), "/a::/b".to_owned())].into();
        let found = plan(wire::ProcessSpec { env, ..echo() })
            .unwrap()
            .candidates;
        assert_eq!(
            found,
            [
                c"/a/echo".to_owned(),
                c"./echo".to_owned(),
                c"/b/echo".to_owned()
            ]
        );
    }

    #[test]
    fn impossible_specifications_are_refused() {
        let long = "x".repeat(MAX_SPEC_BYTES);
        let bad = [
            wire::ProcessSpec {
                program: String::new(),
                ..Default::default()
            },
            wire::ProcessSpec {
                program: "a\0b".into(),
                ..Default::default()
            },
            wire::ProcessSpec {
                args: vec![String::new(); MAX_ARGUMENTS + 1],
                ..echo()
            },
            wire::ProcessSpec {
                args: vec![long.clone()],
                ..echo()
            },
            wire::ProcessSpec {
                env: [("A".to_owned(), long)].into(),
                ..echo()
            },
            wire::ProcessSpec {
                env: [("A=".to_owned(), String::new())].into(),
                ..echo()
            },
            wire::ProcessSpec {
                cwd: "relative".into(),
                ..echo()
            },
            wire::ProcessSpec {
                user: "nobody-here".into(),
                ..echo()
            },
            wire::ProcessSpec {
                stdout: 77,
                ..echo()
            },
            wire::ProcessSpec {
                pty: Some(wire::PtySize { rows: 0, cols: 80 }),
                ..echo()
            },
            wire::ProcessSpec {
                pty: Some(wire::PtySize {
                    rows: 24,
                    cols: 70_000,
                }),
                ..echo()
            },
            wire::ProcessSpec {
                timeout: Some(prost_types::Duration {
                    seconds: -1,
                    nanos: 0,
                }),
                ..echo()
            },
            wire::ProcessSpec {
                timeout: Some(prost_types::Duration {
                    seconds: i64::MAX,
                    nanos: 0,
                }),
                ..echo()
            },
        ];
        for spec in bad {
            let error = plan(spec.clone()).expect_err(&format!("{:.200}", format!("{spec:?}")));
            assert_eq!(error.code(), tonic::Code::InvalidArgument);
        }
    }
}
