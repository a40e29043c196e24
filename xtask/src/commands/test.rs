//! `cargo xtask test [FILTER]`

use std::{
    ffi::OsString,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result};
use clap::Args;

use super::demo;
use crate::{
    cargo::{self, TestProgram},
    deployment::Deployment,
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

/// What is to run on the host.
struct Selection<'a> {
    programs: Set,
    /// Only tests whose names contain this.
    filter: Option<&'a str>,
    /// Whether the demo is a test, too.
    demo: bool,
}

/// The programs of [`END_TO_END`] packages, each on the host with the products beside it, and the demo.
fn run_end_to_end(products: &Products, selection: &Selection<'_>, tally: &mut Tally) -> Result<()> {
    let lease = Lease::take(products)?;
    let ran = run_on(&lease.host, products, selection, tally);
    if ran.is_err()
        && let Some(symptoms) = lease.host.symptoms()
    {
        eprintln!("{} no longer answers\n{symptoms}", lease.host.describe());
    }
    lease.end()?;
    ran
}

fn run_on(
    host: &Host,
    products: &Products,
    selection: &Selection<'_>,
    tally: &mut Tally,
) -> Result<()> {
    let deployment = Deployment::new(host, products)?;
    let snapshots = snapshot::ensure(host, products, &deployment)?;
    let directory = host.shelve(&selection.programs)?;
    let mut variables = deployment.variables(Some(&snapshots));
    // This host was chosen because it can run them: a skip would hide a mistake.
    variables.push(("THAW_MUST_RUN".to_owned(), "1".to_owned()));
    for (name, _) in &selection.programs {
        let title = format!("end-to-end tests: {name}");
        let step = progress::section(&title);
        let mut command: Vec<OsString> = vec![format!("{directory}/{name}").into()];
        command.extend(selection.filter.map(OsString::from));
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
    if selection.demo {
        let step = progress::section("the demo");
        let shown = demo::demonstrate(host, products, &deployment, &snapshots);
        signals::check()?;
        if let Err(error) = &shown {
            eprintln!("error: {error:#}");
        }
        tally.check("demo", shown.is_ok());
        step.done();
    }
    Ok(())
}
