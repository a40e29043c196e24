//! The benches run, and say what they promise to say.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, ensure};
use serde_json::Value;
use tests::products::Products;
use tests::{Host, Result, suite};

suite!(restore_says_where_its_time_goes);

/// Cases and metrics that the figures of a release are made of.
const PROMISED: &[(&str, &str)] = &[
    ("yardstick", "one VM exit to user space"),
    ("restore", "Create answered"),
    ("restore", "first exec answered"),
    ("restore", "vmm PSS beside guest memory"),
    ("restore", "agent PSS"),
    ("cold boot", "Create answered"),
    ("cold boot", "VM exits until Create answered"),
    ("hostd", "PSS"),
];

async fn restore_says_where_its_time_goes(_host: Arc<Host>) -> Result {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("rows.json");
    let output = Command::new(Products::find()?.binary("bench-restore")?)
        .args(["--runs", "2", "--cold-runs", "1", "--json"])
        .arg(&file)
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let written: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    ensure!(written["bench"] == "restore" && written["host"].is_string());
    let rows = written["rows"].as_array().context("no rows")?;
    let rows: BTreeMap<_, _> = rows
        .iter()
        .map(|row| ((row["case"].as_str(), row["metric"].as_str()), row))
        .collect();
    let printed = String::from_utf8_lossy(&output.stdout);
    for &(case, metric) in PROMISED {
        let row = rows
            .get(&(Some(case), Some(metric)))
            .with_context(|| format!("no row {case}, {metric}"))?;
        let value = |name: &str| row[name].as_f64().with_context(|| format!("{row}: {name}"));
        ensure!(value("min")? > 0.0, "{row}");
        ensure!(value("min")? <= value("median")? && value("median")? <= value("p90")?);
        ensure!(value("p90")? <= value("max")?, "{row}");
        ensure!(printed.contains(metric), "{metric} is not in the table");
    }
    let runs = |case| {
        rows.get(&(Some(case), Some("Create answered")))
            .map(|row| row["n"].clone())
    };
    ensure!(runs("restore") == Some(2.into()) && runs("cold boot") == Some(1.into()));
    Ok(())
}
