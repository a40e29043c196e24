//! The rows of a bench: a table for people, JSON for machines.

use serde_json::{Value, json};

/// Samples by case and metric, in the order in which they first came.
#[derive(Clone, Debug)]
pub struct Table {
    bench: &'static str,
    rows: Vec<Row>,
}

#[derive(Clone, Debug)]
struct Row {
    case: String,
    metric: String,
    unit: &'static str,
    samples: Vec<f64>,
}

impl Table {
    /// An empty one.
    pub fn new(bench: &'static str) -> Self {
        Self {
            bench,
            rows: Vec::new(),
        }
    }

    /// Adds one sample.
    pub fn add(&mut self, case: &str, metric: &str, unit: &'static str, sample: f64) {
        let same = |row: &&mut Row| row.case == case && row.metric == metric;
        match self.rows.iter_mut().find(same) {
            Some(row) => row.samples.push(sample),
            None => self.rows.push(Row {
                case: case.to_owned(),
                metric: metric.to_owned(),
                unit,
                samples: vec![sample],
            }),
        }
    }

    /// Prints it to standard output, under a line that says what machine this was.
    pub fn print(&self, host: &str) {
        println!("{} on {host}\n", self.bench);
        println!(
            "{:14} {:34} {:6} {:>4} {:>10} {:>10} {:>10} {:>10}",
            "case", "metric", "unit", "n", "median", "p90", "min", "max"
        );
        let mut last = "";
        for row in &self.rows {
            let case = if row.case == last { "" } else { &row.case };
            last = &row.case;
            let [median, p90, min, max] = row.summary().map(|value| format!("{value:.2}"));
            println!(
                "{case:14} {:34} {:6} {:>4} {median:>10} {p90:>10} {min:>10} {max:>10}",
                row.metric,
                row.unit,
                row.samples.len()
            );
        }
    }

    /// `{bench, host, rows: [{case, metric, unit, n, median, p90, min, max}]}`.
    pub fn to_json(&self, host: &str) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(Row::to_json).collect();
        json!({ "bench": self.bench, "host": host, "rows": rows })
    }
}

impl Row {
    /// Median, 90th percentile, minimum and maximum.
    fn summary(&self) -> [f64; 4] {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        [0.5, 0.9, 0.0, 1.0].map(|part| quantile(&sorted, part))
    }

    fn to_json(&self) -> Value {
        let [median, p90, min, max] = self.summary();
        json!({
            "case": self.case,
            "metric": self.metric.trim(),
            "unit": self.unit,
            "n": self.samples.len(),
            "median": median,
            "p90": p90,
            "min": min,
            "max": max,
        })
    }
}

/// The quantile of sorted samples, between two of them by proportion; 0 of none.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let place = part * sorted.len().saturating_sub(1) as f64;
    let at = |index: f64| sorted.get(index as usize).copied().unwrap_or_default();
    let (low, high) = (at(place.floor()), at(place.ceil()));
    low + (high - low) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        assert_eq!(quantile(&[], 0.5), 0.0);
        assert_eq!(quantile(&[3.0], 0.9), 3.0);
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0], 0.5), 2.5);
        assert_eq!(quantile(&[1.0, 2.0, 3.0], 1.0), 3.0);
    }

    #[test]
    fn samples_of_one_row() {
        let mut table = Table::new("x");
        table.add("a", "  m", "ms", 1.0);
        table.add("a", "  m", "ms", 3.0);
        let json = table.to_json("here");
        assert_eq!(json["rows"][0]["median"], 2.0);
        assert_eq!(json["rows"][0]["metric"], "m");
        assert_eq!(json["rows"][0]["n"], 2);
    }
}
