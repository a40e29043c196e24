//! The tests that need VMs, on a host that can run them.

use std::{ffi::OsString, process::Command};

use anyhow::{Result, bail};

use super::sdks;
use crate::{
    commands::demo,
    deployment::Deployment,
    exec::{self, Call, signals},
    host::Host,
    lease::Lease,
    products::{Products, Set},
    progress, snapshot,
    tally::Tally,
};

/// The test program that runs on the image `clients`, and the variable by which it finds it.
const ON_CLIENTS: &str = "tests-clients";
const CLIENT_IMAGES: &str = "THAW_CLIENT_IMAGES";
/// The test program that runs on this machine, with the official SDKs.
const WITH_SDKS: &str = "tests-sdk";
/// How often an emulated host may hang before the tests give up.
const MAX_RESTARTS: u32 = 2;

/// What is to run, in this order.
#[derive(Debug)]
pub struct Selection<'a> {
    /// The test programs, by package and name.
    pub programs: Set,
    /// Only tests whose names contain this.
    pub filter: Option<&'a str>,
    /// Whether the demo is a test, too.
    pub demo: bool,
}

/// Runs them. An emulated host that hangs is started anew, and what it was at runs again: both are told.
///
/// # Errors
/// When no host can be had, or it hangs again and again.
pub fn run(products: &Products, selection: &Selection<'_>, tally: &mut Tally) -> Result<()> {
    let mut done = 0;
    for _ in 0..=MAX_RESTARTS {
        let lease = Lease::take(products)?;
        let before = done;
        let ran = run_on(&lease.host, products, selection, &mut done, tally);
        signals::check()?;
        let Some(symptoms) = lost(&lease.host, &ran) else {
            lease.end()?;
            return ran.map(drop);
        };
        let name = lease.host.describe();
        eprintln!("{name} no longer answers; it is started anew\n{symptoms}");
        tally.remark(format!(
            "{name} hung after {} of its steps and was started anew",
            done - before
        ));
        lease.end_lost()?;
    }
    bail!("the host hangs again and again")
}

/// How a host was left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ran {
    /// Everything ran.
    Through,
    /// The last step failed, and so may have the host.
    Until,
}

fn lost(host: &Host, ran: &Result<Ran>) -> Option<String> {
    match ran {
        Ok(Ran::Through) => None,
        _ => host.symptoms(),
    }
}

/// Goes on after the steps that are `done`. What fails on a host that no longer answers does not count.
fn run_on(
    host: &Host,
    products: &Products,
    selection: &Selection<'_>,
    done: &mut usize,
    tally: &mut Tally,
) -> Result<Ran> {
    let deployment = Deployment::new(host, products)?;
    let snapshots = snapshot::ensure(host, products, &deployment)?;
    let directory = host.shelve(&selection.programs)?;
    let mut variables = deployment.variables(Some(&snapshots));
    // This host was chosen because it can run them: a skip would hide a mistake.
    variables.push(("THAW_MUST_RUN".to_owned(), "1".to_owned()));
    if selection.programs[*done..]
        .iter()
        .any(|(name, _)| name == ON_CLIENTS)
    {
        let set: Set = vec![("images".to_owned(), products.client_images()?)];
        variables.push((
            CLIENT_IMAGES.to_owned(),
            format!("{}/images", host.shelve(&set)?),
        ));
    }
    while let Some((name, path)) = selection.programs.get(*done) {
        let title = format!("end-to-end tests: {name}");
        let step = progress::section(&title);
        let mut counts = tally.clone();
        let mut told = 0;
        let mut line = |line: &str| told += counts.line(line);
        let passed = if name == WITH_SDKS {
            let mut program = Command::new(path);
            program.args(selection.filter);
            let ran = sdks::run(
                &mut program,
                products,
                &deployment,
                &snapshots,
                host,
                &mut line,
            );
            ran.unwrap_or_else(|error| {
                eprintln!("error: {error:#}");
                false
            })
        } else {
            let mut command: Vec<OsString> = vec![format!("{directory}/{name}").into()];
            command.extend(selection.filter.map(OsString::from));
            let call = Call {
                path: std::slice::from_ref(&deployment.programs),
                variables: &variables,
                command: &command,
            };
            exec::run_watched(host, &call, line)? == 0
        };
        signals::check()?;
        if !passed {
            if host.symptoms().is_some() {
                return Ok(Ran::Until);
            }
            counts.step_failed(&title, told);
        }
        *tally = counts;
        *done += 1;
        step.done();
    }
    if selection.demo && *done == selection.programs.len() {
        let step = progress::section("the demo");
        let shown = demo::demonstrate(host, products, &deployment, &snapshots);
        signals::check()?;
        if let Err(error) = &shown {
            eprintln!("error: {error:#}");
            if host.symptoms().is_some() {
                return Ok(Ran::Until);
            }
        }
        tally.check("demo", shown.is_ok());
        *done += 1;
        step.done();
    }
    Ok(Ran::Through)
}
