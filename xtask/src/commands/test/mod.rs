//! `cargo xtask test [FILTER]`

mod end_to_end;
mod sdks;

use std::process::{Command, ExitCode, Stdio};

use anyhow::Result;
use clap::Args;

use self::end_to_end::Selection;
use crate::{
    cargo::{self, TestProgram},
    exec,
    products::{self, Set},
    progress,
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
        if let Err(error) = end_to_end::run(&products, &selection, &mut tally) {
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
        let mut program = Command::new(&test.path);
        program
            .args(filter)
            .current_dir(&test.directory)
            .env("CARGO_MANIFEST_DIR", &test.directory);
        let mut told = 0;
        let mut line = |line: &str| told += tally.line(line);
        if !exec::run_here(&mut program, &mut line, || false)? {
            tally.step_failed(&name, told);
        }
    }
    step.done();
    Ok(())
}
