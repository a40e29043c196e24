//! The rounds, and the table.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use tempfile::TempDir;
use tests::bench::Table;

use crate::contestants::{self, Contestant, DIRECT, MITMPROXY, NGINX, OPENED, PASSED, Programs};
use crate::contestants::{NAMES, Surroundings};
use crate::cores::{self, Cores};
use crate::measures::{self, DOWNLOAD, MEASURES, P50, P99, RATE, Sample};
use crate::room;

/// How to measure.
#[derive(Debug, Args)]
pub struct Options {
    /// How often each contestant is measured
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only these contestants: direct, pass-through, interception, nginx, mitmproxy
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = NAMES)]
    only: Vec<String>,
    /// In the rounds only these measures: requests, latency, download. One alone allows many short rounds, where the
    /// machine's speed changes
    #[arg(long, value_name = "MEASURE", value_delimiter = ',', value_parser = MEASURES.map(|(name, _)| name))]
    measure: Vec<String>,
    /// Leave it to the kernel what runs on which core
    #[arg(long)]
    anywhere: bool,
    /// Write the rows to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    programs: Programs,
}

/// What is compared with what, and what is hoped for.
const GOALS: &[Goal] = &[
    Goal {
        what: "requests, interception / mitmproxy, 20",
        of: OPENED,
        to: MITMPROXY,
        metric: RATE,
    },
    Goal {
        what: "requests, interception / nginx, 0.8",
        of: OPENED,
        to: NGINX,
        metric: RATE,
    },
    Goal {
        what: "download, pass-through / direct, 0.9",
        of: PASSED,
        to: DIRECT,
        metric: DOWNLOAD,
    },
];

struct Goal {
    what: &'static str,
    of: &'static str,
    to: &'static str,
    metric: &'static str,
}

/// What one round has measured.
type Round = Vec<(&'static str, Sample)>;

/// Measures, and prints.
pub fn run(options: &Options) -> tests::Result {
    let cores = match options.anywhere {
        true => Cores::default(),
        false => Cores::choose()?,
    };
    let directory = tempfile::Builder::new().prefix("bench-egress-").tempdir()?;
    room::furnish()?;
    let _upstream = upstream(&directory, cores)?;
    cores::stay(cores.client)?;
    let wanted = |name: &&str| options.only.is_empty() || options.only.iter().any(|n| n == name);
    let around = Surroundings {
        directory: directory.path(),
        core: cores.proxy,
        programs: &options.programs,
    };
    let started = NAMES
        .into_iter()
        .filter(wanted)
        .map(|name| Contestant::start(name, around));
    let contestants: Vec<Contestant> = started.collect::<tests::Result<_>>()?;

    let mut table = Table::new("egress");
    // First, while nobody has memory left over from something else.
    for contestant in &contestants {
        progress(contestant, "1,000 connections");
        add(&mut table, contestant.name, &measures::memory(contestant)?);
    }
    for number in 1..=options.rounds {
        let round = round(
            &contestants,
            &options.measure,
            &format!("round {number} of {}", options.rounds),
        )?;
        for (name, sample) in &round {
            add(&mut table, name, std::slice::from_ref(sample));
        }
        compare(&mut table, &round);
    }
    print(&table, cores, options)
}

fn upstream(directory: &TempDir, cores: Cores) -> tests::Result<contestants::Program> {
    let mut command = contestants::on_core(cores.upstream, std::env::current_exe()?);
    let (program, _) = contestants::start_program(command.arg("upstream").arg(directory.path()))?;
    Ok(program)
}

fn round(contestants: &[Contestant], only: &[String], what: &str) -> tests::Result<Round> {
    let mut samples = Round::new();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|only| only == name);
    for (_, measure) in MEASURES.into_iter().filter(|(name, _)| wanted(name)) {
        for contestant in contestants {
            progress(contestant, what);
            let some = measure(contestant)?;
            samples.extend(some.into_iter().map(|sample| (contestant.name, sample)));
        }
    }
    Ok(samples)
}

fn progress(contestant: &Contestant, what: &str) {
    eprintln!("{what}: {}", contestant.name);
}

fn add(table: &mut Table, name: &str, samples: &[Sample]) {
    for sample in samples {
        table.add(name, sample.metric, sample.unit, sample.value);
    }
}

/// Adds what follows from the figures of one round.
fn compare(table: &mut Table, round: &Round) {
    let value = |of: &str, metric: &str| {
        let mut found = round
            .iter()
            .filter(|(name, sample)| *name == of && sample.metric == metric);
        found.next().map(|(_, sample)| sample.value)
    };
    for (metric, added) in [(P50, "added to p50"), (P99, "added to p99")] {
        let Some(direct) = value(DIRECT, metric) else {
            continue;
        };
        for name in NAMES.into_iter().filter(|name| *name != DIRECT) {
            if let Some(with) = value(name, metric) {
                table.add(added, name, "µs", with - direct);
            }
        }
    }
    for goal in GOALS {
        let both = value(goal.of, goal.metric).zip(value(goal.to, goal.metric));
        if let Some((of, to)) = both {
            table.add("ratio, goal", goal.what, "×", of / to);
        }
    }
}

fn print(table: &Table, cores: Cores, options: &Options) -> tests::Result {
    let text = fs::read_to_string("/proc/cpuinfo")?;
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model
        .unwrap_or_default()
        .trim_start_matches(['\t', ' ', ':']);
    // What hosts send with. Where client and upstream share a core they share its cache, and what an upstream that is not
    // paced (CUBIC) writes ahead has left it before the client reads it.
    let control = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control")?;
    let about = format!(
        "{model}, {}, congestion control {}",
        cores.describe(),
        control.trim()
    );
    table.print(&about);
    if let Some(path) = &options.json {
        fs::write(path, format!("{:#}\n", table.to_json(&about)))
            .with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
