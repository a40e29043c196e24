//! No network is left: the kernel counts.
//!
//! A user namespace can be told how many network namespaces there may be in it. Where that many can be had at once after
//! hundreds have come and gone, none of the others is left. What has to be in such a namespace is a part, for which this
//! program starts itself again.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use net::{Dropped, Error, Network, Pool, Step};

/// Which part this process is to be.
const PART: &str = "NET_COUNTED_PART";
const PARTS: &[(&str, fn())] = &[
    ("two_hundred_come_and_go", two_hundred_come_and_go),
    (
        "none_outlives_a_killed_holder",
        none_outlives_a_killed_holder,
    ),
    (HOLDER, hold_until_killed),
];
const HOLDER: &str = "holder";

/// How many there may be at once, and the file that says so.
const MOST: usize = 24;
const LIMIT: &str = "/proc/sys/user/max_net_namespaces";
/// That many are made and given back.
const TIMES: usize = 200;
/// The kernel takes a namespace away in its own time, but in less than this.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let part = std::env::var(PART).ok();
    match PARTS
        .iter()
        .find(|(name, _)| Some(*name) == part.as_deref())
    {
        Some((_, run)) => {
            run();
            ExitCode::SUCCESS
        }
        None => tests(),
    }
}

fn tests() -> ExitCode {
    let reason = reason_to_skip();
    if let Some(reason) = &reason {
        println!("SKIP: {reason}");
    }
    let tests = PARTS.iter().filter(|(name, _)| *name != HOLDER);
    let tests = tests
        .map(|(name, _)| Trial::test(*name, || in_user_namespace(name)))
        .map(|test| test.with_ignored_flag(reason.is_some()));
    libtest_mimic::run(&Arguments::from_args(), tests.collect()).exit_code()
}

fn reason_to_skip() -> Option<String> {
    if let Err(error) = net::probe() {
        return Some(format!("{error}: {}", error.source));
    }
    let status = user_namespace("true").status();
    let possible = status.is_ok_and(|status| status.success());
    (!possible).then(|| "there can be no user namespace here".to_owned())
}

fn user_namespace(program: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", program]);
    command
}

fn in_user_namespace(part: &str) -> Result<(), Failed> {
    let this = std::env::current_exe()?;
    let this = this.to_str().ok_or("this program's path is no text")?;
    let status = user_namespace(this).env(PART, part).status()?;
    status
        .success()
        .then_some(())
        .ok_or(format!("{part}: {status}").into())
}

/// A network, as soon as there is room for it.
fn as_soon_as_possible(make: impl Fn() -> Result<Network, Error>) -> Network {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match make() {
            Err(error) if error.step == Step::Namespace && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other.unwrap(),
        }
    }
}

fn hold(number: usize) -> Vec<Network> {
    let each = (0..number).map(|_| as_soon_as_possible(Network::make));
    each.collect()
}

/// All that there may be, at once: there is no other.
fn none_is_left() {
    let all = hold(MOST);
    let more = Network::make().map(drop).unwrap_err();
    assert_eq!(more.step, Step::Namespace, "the kernel does not count");
    drop(all);
}

fn begin_to_count() {
    std::fs::write(LIMIT, MOST.to_string()).unwrap();
}

fn two_hundred_come_and_go() {
    begin_to_count();
    let open_files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let files = open_files();
    let pool = Pool::new(4).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..TIMES / 4 {
                    let network = as_soon_as_possible(|| pool.take());
                    assert_eq!(network.namespace.dropped().unwrap(), Dropped::default());
                }
            });
        }
    });
    drop(pool);
    none_is_left();
    assert_eq!(open_files(), files);
}

fn none_outlives_a_killed_holder() {
    begin_to_count();
    for _ in 0..3 {
        let mut holder = holder();
        holder.kill().unwrap();
        holder.wait().unwrap();
        none_is_left();
    }
}

/// A process that has nearly as many networks as there can be.
fn holder() -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(PART, HOLDER)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child
}

fn hold_until_killed() {
    let networks = hold(MOST - 4);
    println!("ready");
    // Ends, too, when nobody is left to kill it.
    let _ = std::io::stdin().read_line(&mut String::new());
    drop(networks);
}
