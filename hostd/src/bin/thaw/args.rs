//! What every command shares on its command line, and how values are written there.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::commands::Command;

/// Runs programs in microVM sandboxes through hostd.
///
/// Exit status: that of the program where there is one (128+N when signal N killed it, 124 when
/// its time was up, 127 when it was not found, 126 when it cannot be run); 125 for Thaw's own errors.
#[derive(Debug, Parser)]
#[command(name = "thaw", version)]
pub struct Args {
    /// Where hostd listens: unix:PATH or http://HOST:PORT.
    #[arg(
        long,
        global = true,
        env = "THAW_ENDPOINT",
        default_value = "unix:/run/thaw/hostd.sock"
    )]
    pub endpoint: String,

    /// File with the access token. Without it THAW_TOKEN is used, if set.
    #[arg(long, global = true, env = "THAW_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Print JSON where a command prints a table or an id.
    #[arg(long, global = true)]
    pub json: bool,

    #[command(subcommand)]
    pub command: Command,
}

/// `KEY=VALUE`; the value may be empty and may contain `=`.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// `30s`, `5m`, `1h 30m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration.is_zero() => Err("must be longer than nothing".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error} (examples: 30s, 5m, 1h)")),
    }
}

/// A size in bytes: `536870912`, `512M`, `512MiB`, `1G`. Suffixes are powers of 1024.
pub fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return Err("unknown unit (use K, M or G)".to_owned()),
    };
    let count: u64 = digits
        .parse()
        .map_err(|_| "expected a whole number and a unit, like 512M".to_owned())?;
    count
        .checked_mul(1 << shift)
        .ok_or_else(|| "too large".to_owned())
}

/// The protocol's duration; what does not fit is as good as for ever.
pub fn to_proto(duration: Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(duration).unwrap_or(prost_types::Duration {
        seconds: i64::MAX,
        nanos: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn pairs() {
        assert_eq!(pair("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(pair("A="), Ok(("A".into(), String::new())));
        assert!(pair("=b").is_err());
        assert!(pair("A").is_err());
    }

    #[test]
    fn durations() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert!(duration("0s").is_err());
        assert!(duration("30").is_err());
    }

    #[test]
    fn sizes() {
        assert_eq!(bytes("512MiB"), Ok(512 << 20));
        assert_eq!(bytes("1g"), Ok(1 << 30));
        assert_eq!(bytes("4096"), Ok(4096));
        assert!(bytes("1T").is_err());
        assert!(bytes("M").is_err());
        assert!(bytes("18446744073709551615K").is_err());
    }

    #[test]
    fn hyphens_after_the_program_are_its_own() {
        let args = Args::try_parse_from(["thaw", "run", "ls", "-l", "--json"]).unwrap();
        let Command::Run(run) = args.command else {
            panic!("not run")
        };
        assert_eq!(run.program_and_args, ["ls", "-l", "--json"]);
        assert!(!args.json);
    }
}
