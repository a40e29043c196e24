//! Runs the tests of one binary, one after the other, against something that they share: a `hostd`.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::FutureExt;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

use crate::Host;
use crate::host::HostOptions;
use crate::products::{Missing, Products, must_run};

/// What takes longer hangs. An emulated host boots a guest in up to half a minute under load.
const DEADLINE: Duration = Duration::from_secs(600);

type Body<S> = Box<dyn FnOnce(Arc<S>) -> Pin<Box<dyn Future<Output = crate::Result>>> + Send>;

/// What the tests of a suite share.
pub trait Subject: Send + Sync + 'static {
    /// Ends what a test has left running.
    fn clear(self: &Arc<Self>) -> impl Future<Output = crate::Result>;
    /// What a failed test shows besides its error.
    fn report(&self) -> impl Future<Output = String>;
    /// Ends it, after the last test.
    fn stop(self: Arc<Self>) -> impl Future<Output = crate::Result>;
}

impl Subject for Host {
    async fn clear(self: &Arc<Self>) -> crate::Result {
        Self::clear(self).await
    }

    async fn report(&self) -> String {
        let (failures, log) = (self.failures().await, self.log_tail());
        format!("--- failed sandboxes\n{failures}\n--- hostd\n{log}")
    }

    async fn stop(self: Arc<Self>) -> crate::Result {
        Self::stop(&self).await
    }
}

/// A named test.
pub struct Test<S> {
    name: &'static str,
    body: Body<S>,
}

impl<S: Subject> Test<S> {
    /// Names an asynchronous function.
    pub fn new<F>(name: &'static str, body: impl FnOnce(Arc<S>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = crate::Result> + 'static,
    {
        Self {
            name,
            body: Box::new(|host| Box::pin(body(host))),
        }
    }
}

/// Makes `main` of a list of asynchronous functions; with `host:`, what starts what they share.
#[macro_export]
macro_rules! suite {
    (host: $host:path, $($test:ident),+ $(,)?) => {
        fn main() -> std::process::ExitCode {
            $crate::suite::run(
                || Box::pin($host()),
                vec![$($crate::suite::Test::new(stringify!($test), $test)),+],
            )
        }
    };
    ($($test:ident),+ $(,)?) => {
        $crate::suite!(host: $crate::suite::default_host, $($test),+);
    };
}

/// What starts what the tests share.
pub type Start<S> = fn() -> Pin<Box<dyn Future<Output = crate::Result<Arc<S>>>>>;

/// The default image's snapshot, and nothing special.
///
/// # Errors
/// The products are missing, or it does not start.
pub async fn default_host() -> crate::Result<Arc<Host>> {
    Host::start(HostOptions::with_default_snapshot(Products::find()?)?).await
}

/// What the tests of this binary share.
struct Shared<S> {
    start: Start<S>,
    /// It, once it is started.
    subject: Mutex<Option<Arc<S>>>,
    /// Names and reasons of those that could not run.
    skips: std::sync::Mutex<Vec<String>>,
}

/// Runs those tests that the command line asks for (the arguments are libtest's).
pub fn run<S: Subject>(start: Start<S>, tests: Vec<Test<S>>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They share two slow processors; and some promise how fast something is noticed.
    arguments.test_threads = Some(1);
    let runtime = match Runtime::new() {
        Ok(runtime) => Arc::new(runtime),
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let shared = Arc::new(Shared {
        start,
        subject: Mutex::default(),
        skips: std::sync::Mutex::default(),
    });
    let trials = tests
        .into_iter()
        .map(|test| {
            let (runtime, shared) = (runtime.clone(), shared.clone());
            Trial::ignorable_test(test.name, move || runtime.block_on(run_one(test, &shared)))
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    for skip in shared.skips.lock().iter().flat_map(|skips| skips.iter()) {
        println!("SKIP {skip}");
    }
    if let Err(error) = runtime.block_on(stop(&shared)) {
        eprintln!("FAILED after the last test: {error:#}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

async fn run_one<S: Subject>(test: Test<S>, shared: &Shared<S>) -> Result<Completion, Failed> {
    let subject = match shared_subject(shared).await {
        Ok(subject) => subject,
        Err(error) => return cannot_run(test.name, &error, shared),
    };
    let body = AssertUnwindSafe((test.body)(subject.clone())).catch_unwind();
    let result = match tokio::time::timeout(DEADLINE, body).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(anyhow::anyhow!("it panicked, see above")),
        Err(_) => Err(anyhow::anyhow!("not done after {DEADLINE:?}")),
    };
    let cleared = match tokio::time::timeout(DEADLINE, subject.clear()).await {
        Ok(cleared) => cleared.context("clearing up after the test"),
        Err(_) => Err(anyhow::anyhow!(
            "clearing up is not done after {DEADLINE:?}"
        )),
    };
    match result.and(cleared) {
        Ok(()) => Ok(Completion::Completed),
        Err(error) if error.is::<Missing>() => cannot_run(test.name, &error, shared),
        Err(error) => {
            let report = subject.report().await;
            Err(format!("{error:?}\n{report}").into())
        }
    }
}

async fn shared_subject<S>(shared: &Shared<S>) -> crate::Result<Arc<S>> {
    let mut subject = shared.subject.lock().await;
    if let Some(subject) = &*subject {
        return Ok(subject.clone());
    }
    let started = (shared.start)().await?;
    Ok(subject.insert(started).clone())
}

/// A skip is said, with its reason; on a machine that must run everything it is a failure,
/// and so is everything but a missing prerequisite.
fn cannot_run<S>(
    name: &str,
    reason: &anyhow::Error,
    shared: &Shared<S>,
) -> Result<Completion, Failed> {
    if must_run() || !reason.is::<Missing>() {
        return Err(format!("cannot run: {reason:?}").into());
    }
    if let Ok(mut skips) = shared.skips.lock() {
        skips.push(format!("{name}: {reason:#}"));
    }
    Ok(Completion::ignored_with(format!("{reason:#}")))
}

async fn stop<S: Subject>(shared: &Shared<S>) -> crate::Result {
    match shared.subject.lock().await.take() {
        Some(subject) => subject.stop().await,
        None => Ok(()),
    }
}
