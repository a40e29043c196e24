//! The command line: three flags do not need a parser library in every sandbox's process.

use crate::jail::identity::Identity;
use crate::jail::seccomp::OnViolation;

/// What the process is to do.
#[derive(Debug)]
pub enum Args {
    /// Say the version.
    Version,
    /// Measure KVM.
    Probe,
    /// Be a vmm.
    Serve(Serve),
}

/// How to be a vmm.
#[derive(Clone, Copy, Debug)]
pub struct Serve {
    /// Whom to become when started by root.
    pub identity: Identity,
    /// What a forbidden system call leads to.
    pub on_violation: OnViolation,
}

/// A command line that means nothing.
#[derive(Debug, thiserror::Error)]
pub enum ArgsError {
    /// A flag that does not exist.
    #[error(
        "unknown argument {0:?}; try --version, --probe, --uid N, --gid N, --seccomp kill|log|off"
    )]
    Unknown(String),
    /// A flag without its value, or with a wrong one.
    #[error("{flag} needs {expected}")]
    Value {
        /// The flag.
        flag: &'static str,
        /// What it needs.
        expected: &'static str,
    },
}

impl Args {
    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    ///
    /// [`ArgsError`].
    pub fn parse(args: impl Iterator<Item = String>) -> Result<Self, ArgsError> {
        let mut args = args;
        let mut serve = Serve {
            identity: Identity::NOBODY,
            on_violation: OnViolation::Kill,
        };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--version" => return Ok(Self::Version),
                "--probe" => return Ok(Self::Probe),
                "--uid" => serve.identity.uid = number("--uid", args.next())?,
                "--gid" => serve.identity.gid = number("--gid", args.next())?,
                "--seccomp" => serve.on_violation = on_violation(args.next())?,
                _ => return Err(ArgsError::Unknown(arg)),
            }
        }
        Ok(Self::Serve(serve))
    }
}

fn number(flag: &'static str, value: Option<String>) -> Result<u32, ArgsError> {
    let number = value.and_then(|value| value.parse().ok());
    number.ok_or(ArgsError::Value {
        flag,
        expected: "a number",
    })
}

fn on_violation(value: Option<String>) -> Result<OnViolation, ArgsError> {
    match value.as_deref() {
        Some("kill") => Ok(OnViolation::Kill),
        Some("log") => Ok(OnViolation::Log),
        Some("off") => Ok(OnViolation::Ignore),
        _ => Err(ArgsError::Value {
            flag: "--seccomp",
            expected: "kill, log or off",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Args, ArgsError> {
        Args::parse(words.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn flags_are_read() {
        assert!(matches!(parse(&["--probe"]), Ok(Args::Probe)));
        let Ok(Args::Serve(serve)) = parse(&["--uid", "7", "--seccomp", "log"]) else {
            panic!("not taken");
        };
        assert_eq!(serve.identity.uid, 7);
        assert_eq!(serve.on_violation, OnViolation::Log);
    }

    #[test]
    fn nonsense_is_refused() {
        for words in [
            &["--uid"][..],
            &["--gid", "x"],
            &["--seccomp", "maybe"],
            &["boot"],
        ] {
            assert!(parse(words).is_err());
        }
    }
}
