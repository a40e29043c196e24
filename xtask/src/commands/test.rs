//! `cargo xtask test [FILTER]`

use std::{
    ffi::OsString,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result};
use clap::Args;

use crate::{
    cargo,
    deployment::Deployment,
    exec::{self, Call, signals},
    lease::Lease,
    products::{self, Products, Set},
    progress, snapshot,
    tally::Tally,
};

/// Tests in the package `tests` that need cargo and no host.
const NATIVE: &[&str] = &["edges"];

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
    /// Test programs that were built before, whatever the sources say.
    #[arg(long)]
    no_build: bool,
}

/// Runs the command.
///
/// # Errors
/// When the host cannot be had. Tests that fail are no error, but end with status 1.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let filter = arguments.filter.as_deref();
    let mut tally = Tally::default();
    if filter.is_none() && !arguments.end_to_end {
        checks(&mut tally)?;
    }
    if !arguments.end_to_end {
        native(filter, &mut tally)?;
    }
    if !arguments.native
        && let Err(error) = end_to_end(filter, arguments.no_build, &mut tally)
    {
        eprintln!("error: {error:#}");
        tally.step_failed("end-to-end tests", 0);
    }
    Ok(tally.finish())
}

/// What every change must keep: the same here as in CI.
fn checks(tally: &mut Tally) -> Result<()> {
    for (name, arguments) in [
        ("formatting", &["fmt", "--all", "--check"][..]),
        (
            "lints",
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--quiet",
                "--",
                "-D",
                "warnings",
            ],
        ),
    ] {
        let step = progress::section(name);
        let status = cargo::cargo()
            .args(arguments)
            .stdin(Stdio::null())
            .status()?;
        tally.check(name, status.success());
        step.done();
    }
    Ok(())
}

/// Each crate's own tests.
fn native(filter: Option<&str>, tally: &mut Tally) -> Result<()> {
    let mut all = cargo::cargo();
    all.args([
        "test",
        "--workspace",
        "--exclude",
        "tests",
        "--no-fail-fast",
    ]);
    let mut harness = cargo::cargo();
    harness.args(["test", "--package", "tests", "--no-fail-fast", "--lib"]);
    harness.args(NATIVE.iter().flat_map(|name| ["--test", name]));
    for (name, command) in [
        ("the crates' own tests", &mut all),
        ("the harness's own tests", &mut harness),
    ] {
        let step = progress::section(name);
        command.arg("--").args(filter);
        run_cargo_tests(name, command, tally)?;
        step.done();
    }
    Ok(())
}

fn run_cargo_tests(name: &str, command: &mut Command, tally: &mut Tally) -> Result<()> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let mut told = 0;
    if let Some(output) = child.stdout.take() {
        exec::watch(output, &mut |line| told += tally.line(line));
    }
    if !child.wait()?.success() {
        tally.step_failed(name, told);
    }
    Ok(())
}

/// The tests in package `tests`, each program on the host with the products beside it.
fn end_to_end(filter: Option<&str>, no_build: bool, tally: &mut Tally) -> Result<()> {
    let products = products::get(no_build)?;
    let step = progress::section("building the end-to-end tests");
    let mut build = cargo::cargo();
    build.args([
        "test",
        "--release",
        "--package",
        "tests",
        "--tests",
        "--no-run",
    ]);
    let mut programs = cargo::test_programs(&mut build)?;
    programs.retain(|(name, _)| !NATIVE.contains(&name.as_str()));
    programs.sort();
    step.done();

    let lease = Lease::take(&products)?;
    let ran = run_programs(&lease, &products, programs, filter, tally);
    lease.end()?;
    ran
}

fn run_programs(
    lease: &Lease,
    products: &Products,
    programs: Set,
    filter: Option<&str>,
    tally: &mut Tally,
) -> Result<()> {
    let host = &lease.host;
    let deployment = Deployment::new(host, products)?;
    let snapshots = snapshot::ensure(host, products, &deployment)?;
    let directory = host.shelve(&programs)?;
    let mut variables = deployment.variables(Some(&snapshots));
    // This host was chosen because it can run them: a skip would hide a mistake.
    variables.push(("THAW_MUST_RUN".to_owned(), "1".to_owned()));
    for (name, _) in &programs {
        let title = format!("end-to-end tests: {name}");
        let step = progress::section(&title);
        let mut command: Vec<OsString> = vec![format!("{directory}/{name}").into()];
        command.extend(filter.map(OsString::from));
        let call = Call {
            path: std::slice::from_ref(&deployment.programs),
            variables: &variables,
            command: &command,
        };
        let mut told = 0;
        let status = exec::run_watched(host, &call, |line| told += tally.line(line))?;
        signals::check()?;
        if status != 0 {
            tally.step_failed(&title, told);
        }
        step.done();
    }
    Ok(())
}
