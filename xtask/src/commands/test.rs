//! `cargo xtask test [FILTER]`

use std::{
    ffi::OsString,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::demo;
use crate::{
    cargo::{self, TestProgram},
    deployment::{self, Deployment},
    exec::{self, Call, signals},
    host::Host,
    lease::Lease,
    products::{self, Products, Set},
    progress, snapshot,
    tally::Tally,
};

/// Packages whose tests in `tests/` need a host, but for those in [`NATIVE`].
const END_TO_END: &[&str] = &["tests", "vmm"];
/// Tests of theirs that need cargo and no host.
const NATIVE: &[&str] = &["edges"];
/// The test program that runs on the image `clients`, and the variable by which it finds it.
const ON_CLIENTS: &str = "tests-clients";
const CLIENT_IMAGES: &str = "THAW_CLIENT_IMAGES";
/// The test program that runs the SDKs on the host.
const ON_SDK: &str = "tests-sdk";
/// How often an emulated host may hang before the tests give up.
const MAX_RESTARTS: u32 = 2;

/// Run all tests: formatting, lints, each crate's own, and the end-to-end tests where VMs can run.
///
/// The last line is `N passed, N failed, N skipped`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Only tests whose names contain this; formatting and lints are then left out.
    filter: Option<String>,
    /// Leave out the end-to-end tests.
    #[arg(long, conflicts_with = "end_to_end")]
    native: bool,
    /// Only the end-to-end tests.
    #[arg(long)]
    end_to_end: bool,
    /// Only the end-to-end tests in this file of a `tests/` folder. May be repeated.
    #[arg(long, value_name = "NAME", conflicts_with = "native")]
    program: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// When something does not build, or the host cannot be had. Tests that fail are no error, but end
/// with status 1.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let filter = arguments.filter.as_deref();
    let only_end_to_end = arguments.end_to_end || !arguments.program.is_empty();
    let mut tally = Tally::default();
    if filter.is_none() && !only_end_to_end {
        check("formatting", &["fmt", "--all", "--check"], &mut tally)?;
    }
    let (products, tests) = match arguments.native {
        true => (None, products::tests()?),
        false => products::get_with_tests().map(|(products, tests)| (Some(products), tests))?,
    };
    if filter.is_none() && !only_end_to_end {
        // After the build, and with its profile: build scripts and macros are there already.
        let lints = "clippy --release --workspace --all-targets --quiet -- -D warnings";
        check("lints", &lints.split(' ').collect::<Vec<_>>(), &mut tally)?;
    }
    let (end_to_end, native): (Vec<_>, Vec<_>) = tests.into_iter().partition(needs_host);
    if !only_end_to_end {
        run_native(&native, filter, &mut tally)?;
    }
    if let Some(products) = products {
        let mut programs: Set = end_to_end
            .into_iter()
            .filter(|test| arguments.program.is_empty() || arguments.program.contains(&test.name))
            .map(|test| (format!("{}-{}", test.package, test.name), test.path))
            .collect();
        programs.sort();
        let everything = filter.is_none() && arguments.program.is_empty();
        let selection = Selection {
            programs,
            filter,
            demo: everything,
        };
        if let Err(error) = run_end_to_end(&products, &selection, &mut tally) {
            eprintln!("error: {error:#}");
            tally.step_failed("end-to-end tests", 0);
        }
    }
    Ok(tally.finish())
}

fn needs_host(test: &TestProgram) -> bool {
    test.is_integration
        && END_TO_END.contains(&test.package.as_str())
        && !NATIVE.contains(&test.name.as_str())
}

/// What every change must keep: the same here as in CI.
fn check(name: &str, arguments: &[&str], tally: &mut Tally) -> Result<()> {
    let step = progress::section(name);
    let status = cargo::cargo()
        .args(arguments)
        .stdin(Stdio::null())
        .status()?;
    tally.check(name, status.success());
    step.done();
    Ok(())
}

/// Each crate's own tests.
fn run_native(tests: &[TestProgram], filter: Option<&str>, tally: &mut Tally) -> Result<()> {
    let step = progress::section("the crates' own tests");
    for test in tests {
        let name = format!("{}: {}", test.package, test.name);
        println!("\n{name}");
        let mut child = Command::new(&test.path)
            .args(filter)
            .current_dir(&test.directory)
            .env("CARGO_MANIFEST_DIR", &test.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", test.path.display()))?;
        let mut told = 0;
        if let Some(output) = child.stdout.take() {
            exec::watch(output, &mut |line| told += tally.line(line));
        }
        if !child.wait()?.success() {
            tally.step_failed(&name, told);
        }
    }
    step.done();
    Ok(())
}

/// What is to run on the host, in this order.
struct Selection<'a> {
    /// The programs of [`END_TO_END`] packages.
    programs: Set,
    /// Only tests whose names contain this.
    filter: Option<&'a str>,
    /// Whether the demo is a test, too.
    demo: bool,
}

/// Runs them. An emulated host that hangs is started anew, and what it was at runs again: both are told.
fn run_end_to_end(products: &Products, selection: &Selection<'_>, tally: &mut Tally) -> Result<()> {
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
    if selection.programs[*done..]
        .iter()
        .any(|(name, _)| name == ON_SDK)
    {
        variables.push(deployment::sdks(host)?);
    }
    while let Some((name, _)) = selection.programs.get(*done) {
        let title = format!("end-to-end tests: {name}");
        let step = progress::section(&title);
        let mut command: Vec<OsString> = vec![format!("{directory}/{name}").into()];
        command.extend(selection.filter.map(OsString::from));
        let call = Call {
            path: std::slice::from_ref(&deployment.programs),
            variables: &variables,
            command: &command,
        };
        let mut counts = tally.clone();
        let mut told = 0;
        let status = exec::run_watched(host, &call, |line| told += counts.line(line))?;
        signals::check()?;
        if status != 0 {
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
