//! Counts the results of tests of all kinds.

use std::process::ExitCode;

/// How many tests did what.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// Steps that went wrong, for the end of the log.
    complaints: Vec<String>,
    remarks: Vec<String>,
}

impl Tally {
    /// Says something at the end of the log that is no failure.
    pub fn remark(&mut self, text: String) {
        self.remarks.push(text);
    }

    /// Counts a check that is one thing.
    pub fn check(&mut self, name: &str, good: bool) {
        if good {
            self.passed += 1;
        } else {
            self.failed += 1;
            self.complaints.push(name.to_owned());
        }
    }

    /// Counts what a line of a test program's output says:
    /// `test result: ok. 3 passed; 0 failed; 1 ignored; …`. Returns how many failed.
    pub fn line(&mut self, line: &str) -> u64 {
        let Some(result) = line.strip_prefix("test result: ") else {
            return 0;
        };
        let result = result.split_once(". ").map_or(result, |(_, counts)| counts);
        let mut counts = [0; 3];
        for part in result.split(';') {
            let mut words = part.split_whitespace();
            let (Some(number), Some(what)) = (words.next(), words.next()) else {
                continue;
            };
            let index = ["passed", "failed", "ignored"]
                .iter()
                .position(|name| *name == what);
            if let (Some(index), Ok(number)) = (index, number.parse::<u64>()) {
                counts[index] = number;
            }
        }
        let [passed, failed, skipped] = counts;
        self.passed += passed;
        self.failed += failed;
        self.skipped += skipped;
        failed
    }

    /// Notes that the step `name` ended badly; `told` of its tests have said that they failed. A
    /// step that fails without telling (it did not build, it crashed) counts as one failure.
    pub fn step_failed(&mut self, name: &str, told: u64) {
        self.complaints.push(name.to_owned());
        if told == 0 {
            self.failed += 1;
        }
    }

    /// Prints the sum as the last line, and returns what to end with.
    pub fn finish(self) -> ExitCode {
        for remark in &self.remarks {
            println!("note: {remark}");
        }
        for complaint in &self.complaints {
            println!("failed: {complaint}");
        }
        println!(
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        );
        if self.failed == 0 && self.complaints.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_summed() {
        let mut tally = Tally::default();
        tally.line("running 4 tests");
        tally.line("test result: ok. 14 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s");
        let failed = tally
            .line("test result: FAILED. 1 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out");
        assert_eq!(
            (tally.passed, tally.failed, tally.skipped, failed),
            (15, 3, 2, 3)
        );
    }

    #[test]
    fn a_step_that_says_nothing_is_a_failure() {
        let mut tally = Tally::default();
        tally.step_failed("build", 0);
        assert_eq!(tally.failed, 1);
        tally.step_failed("tests", 2);
        assert_eq!(tally.failed, 1);
    }
}
