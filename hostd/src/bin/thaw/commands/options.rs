//! Options that several commands take: what a sandbox is made from, and how a program starts.

use std::io::{IsTerminal, stdin, stdout};
use std::time::Duration;

use clap::{Args, ValueEnum};
use protocol::hostd::v1::CreateSandboxRequest;
use protocol::hostd::v1::create_sandbox_request::Source;
use protocol::types::v1::ProcessSpec;

use super::network::NetworkOptions;
use crate::args::{bytes, duration, pair, to_proto};
use crate::error::Error;
use crate::session::terminal;

/// The snapshot that hosts are set up with.
const DEFAULT_SNAPSHOT: &str = "default";

/// How a sandbox is made.
#[derive(Debug, Args)]
pub struct SandboxOptions {
    /// Restore this snapshot (id or name)
    #[arg(long, value_name = "NAME", default_value = DEFAULT_SNAPSHOT, conflicts_with = "image")]
    snapshot: String,
    /// Boot this image from cold instead of restoring a snapshot
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
    /// Variable for every program of the sandbox; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// Label, to be found by; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,
    /// Host name in the sandbox; its id when not given
    #[arg(long, value_name = "NAME", default_value = "")]
    hostname: String,
    /// Virtual CPUs (with --image)
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        requires = "image"
    )]
    vcpus: u32,
    /// Memory, like 512M (with --image)
    #[arg(long, value_name = "SIZE", value_parser = bytes, requires = "image")]
    memory: Option<u64>,
    /// How long the guest may take to come up, like 30s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    boot_timeout: Option<Duration>,
    #[command(flatten)]
    network: NetworkOptions,
}

impl SandboxOptions {
    /// The request, with a life time if there is to be one.
    pub fn request(&self, timeout: Option<Duration>) -> Result<CreateSandboxRequest, Error> {
        Ok(CreateSandboxRequest {
            source: Some(match &self.image {
                Some(image) => Source::Image(image.clone()),
                None => Source::Snapshot(self.snapshot.clone()),
            }),
            labels: self.label.iter().cloned().collect(),
            env: self.env.iter().cloned().collect(),
            timeout: timeout.map(to_proto),
            vcpus: self.vcpus,
            memory_bytes: self.memory.unwrap_or(0),
            hostname: self.hostname.clone(),
            boot_timeout: self.boot_timeout.map(to_proto),
            extra_cmdline: String::new(),
            network: self.network.network()?,
        })
    }

    /// What the sandbox is made from, for messages.
    pub fn source(&self) -> String {
        match &self.image {
            Some(image) => format!("image {image:?}"),
            None => format!("snapshot {:?}", self.snapshot),
        }
    }
}

/// Whether the program gets a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tty {
    /// When standard input and output are one here
    Auto,
    Always,
    Never,
}

/// How a program starts, and what it is connected to.
#[derive(Debug, Args)]
pub struct ProgramOptions {
    /// User, or user:group, by name or number
    #[arg(
        long,
        short,
        value_name = "USER",
        default_value = "",
        hide_default_value = true
    )]
    user: String,
    /// Directory to start in; the user's home when not given
    #[arg(
        long,
        short = 'w',
        value_name = "DIR",
        default_value = "",
        hide_default_value = true
    )]
    cwd: String,
    /// Kill the program when it runs longer, like 30s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// Give the program a terminal; -t alone means always
    #[arg(long, short, value_enum, value_name = "WHEN", default_value = "auto",
          num_args = 0..=1, default_missing_value = "always", require_equals = true)]
    tty: Tty,
    /// Connect standard input even if it is a terminal and the program gets none
    #[arg(long, short)]
    interactive: bool,
    /// Do not read standard input
    #[arg(long, short, conflicts_with = "interactive")]
    no_stdin: bool,
}

/// A program to start and how the caller's streams connect to it.
pub struct Program {
    pub spec: ProcessSpec,
    /// This terminal is the program's.
    pub tty: bool,
}

impl ProgramOptions {
    /// Resolves the automatic parts against the streams that this process has.
    pub fn program(&self, command: &[String], env: &[(String, String)]) -> Program {
        let tty = match self.tty {
            Tty::Always => true,
            Tty::Never => false,
            Tty::Auto => stdin().is_terminal() && stdout().is_terminal() && !self.no_stdin,
        };
        let mut words = command.iter().cloned();
        let mut env: std::collections::HashMap<_, _> = env.iter().cloned().collect();
        if let (true, Ok(term)) = (tty, std::env::var("TERM")) {
            env.entry("TERM".to_owned()).or_insert(term);
        }
        let spec = ProcessSpec {
            program: words.next().unwrap_or_default(),
            args: words.collect(),
            env,
            cwd: self.cwd.clone(),
            user: self.user.clone(),
            timeout: self.timeout.map(to_proto),
            pty: tty.then(terminal::size),
            stdin: self.reads_stdin(tty),
            kill_on_disconnect: true,
            ..ProcessSpec::default()
        };
        Program { spec, tty }
    }

    /// A terminal that the program does not own is read only when asked: a job in the
    /// background would be stopped for trying.
    fn reads_stdin(&self, tty: bool) -> bool {
        !self.no_stdin && (tty || self.interactive || !stdin().is_terminal())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        sandbox: SandboxOptions,
        #[command(flatten)]
        program: ProgramOptions,
    }

    fn parse(words: &[&str]) -> Result<Line, clap::Error> {
        Line::try_parse_from(["x"].iter().chain(words))
    }

    #[test]
    fn default_snapshot() {
        let request = parse(&[]).unwrap().sandbox.request(None).unwrap();
        assert_eq!(request.source, Some(Source::Snapshot("default".to_owned())));
    }

    #[test]
    fn image_or_snapshot() {
        let request = parse(&["--image", "a", "--memory", "64M"])
            .unwrap()
            .sandbox
            .request(None)
            .unwrap();
        assert_eq!(request.source, Some(Source::Image("a".to_owned())));
        assert_eq!(request.memory_bytes, 64 << 20);
        assert!(parse(&["--image", "a", "--snapshot", "b"]).is_err());
        assert!(parse(&["--memory", "64M"]).is_err());
    }

    #[test]
    fn terminal_choice() {
        assert_eq!(parse(&["-t"]).unwrap().program.tty, Tty::Always);
        assert_eq!(parse(&["--tty=never"]).unwrap().program.tty, Tty::Never);
        assert_eq!(parse(&[]).unwrap().program.tty, Tty::Auto);
    }

    #[test]
    fn words_of_the_program() {
        let program = parse(&["--tty=never", "--timeout", "2s"]).unwrap().program;
        let spec = program
            .program(&["ls".to_owned(), "-l".to_owned()], &[])
            .spec;
        assert_eq!((spec.program.as_str(), spec.args.len()), ("ls", 1));
        assert_eq!(spec.timeout.unwrap().seconds, 2);
        assert!(spec.kill_on_disconnect && spec.pty.is_none());
    }
}
