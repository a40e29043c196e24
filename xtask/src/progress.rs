//! Says what is going on, on standard error: a spinner on a terminal, plain lines elsewhere.

use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// Steps shorter than this leave no line behind.
const WORTH_A_LINE: Duration = Duration::from_millis(500);

/// A step that is under way.
#[derive(Debug)]
pub struct Step {
    name: String,
    started: Instant,
    spinner: Option<ProgressBar>,
}

/// Starts a step and shows it.
pub fn step(name: impl Into<String>) -> Step {
    let name = name.into();
    let spinner = stderr().is_terminal().then(|| {
        let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
        let bar = ProgressBar::new_spinner();
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.set_message(name.clone());
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
    });
    if spinner.is_none() {
        eprintln!("[thaw] {name} …");
    }
    Step {
        name,
        started: Instant::now(),
        spinner,
    }
}

/// Starts a step whose own output shows: no spinner moves over it.
pub fn section(name: impl Into<String>) -> Step {
    let name = name.into();
    eprintln!("[thaw] {name} …");
    Step {
        name,
        started: Instant::now(),
        spinner: None,
    }
}

impl Step {
    /// Ends the step well and says how long it took.
    pub fn done(self) {
        let took = self.started.elapsed();
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
        if took >= WORTH_A_LINE {
            eprintln!("[thaw] {}: {:.1} s", self.name, took.as_secs_f64());
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

/// Shows one line.
pub fn say(line: impl AsRef<str>) {
    eprintln!("[thaw] {}", line.as_ref());
}
