//! `thaw doctor`: what the host needs, what was found, what to do.

use clap::Args;
use hostd::host::doctor;
use protocol::hostd::v1::check::Verdict;
use protocol::hostd::v1::{Check, DoctorRequest, DoctorResponse};
use serde_json::json;

use crate::client::Hostd;
use crate::error::Error;
use crate::{json, output};

/// Something that the host needs is missing.
const UNHEALTHY: u8 = 1;

#[derive(Debug, Args)]
pub struct Doctor {}

/// Prints the table. Without a hostd it says so, and what this machine alone lacks: the command may be run where hostd does
/// not start.
pub async fn run(hostd: Result<Hostd, Error>, as_json: bool) -> Result<u8, Error> {
    let response = match hostd {
        Ok(hostd) => ask(&hostd).await?,
        Err(error) => without_hostd(&error).await,
    };
    match as_json {
        true => output::json(&to_json(&response))?,
        false => print(&response)?,
    }
    Ok(if response.healthy { 0 } else { UNHEALTHY })
}

async fn ask(hostd: &Hostd) -> Result<DoctorResponse, Error> {
    let answer = hostd.host().doctor(DoctorRequest {}).await;
    Ok(answer.map_err(Error::refused("doctor"))?.into_inner())
}

async fn without_hostd(error: &Error) -> DoctorResponse {
    let report = error.report();
    let (found, remedy) = report.split_once('\n').unwrap_or((&report, ""));
    let mut checks = vec![Check {
        requirement: "hostd".to_owned(),
        verdict: Verdict::Failed.into(),
        found: found.trim_start_matches("thaw: ").to_owned(),
        remedy: remedy.trim().to_owned(),
    }];
    let vmm = hostd::config::vmm_beside_us();
    // A client's machine has no vmm, and need not be fit for one.
    if vmm.is_file() {
        let machine = doctor::examine_machine(&vmm).await;
        checks.extend(machine.into_iter().map(Check::from));
    }
    DoctorResponse {
        healthy: false,
        checks,
    }
}

fn print(response: &DoctorResponse) -> Result<(), Error> {
    let rows: Vec<_> = response
        .checks
        .iter()
        .map(|check| {
            [
                check.requirement.clone(),
                json::verdict(check.verdict()),
                check.found.clone(),
                check.remedy.clone(),
            ]
        })
        .collect();
    output::table(["REQUIREMENT", "VERDICT", "FOUND", "WHAT TO DO"], &rows)
}

fn to_json(response: &DoctorResponse) -> serde_json::Value {
    let checks: Vec<_> = response
        .checks
        .iter()
        .map(|check| {
            json!({
                "requirement": check.requirement,
                "verdict": json::verdict(check.verdict()),
                "found": check.found,
                "remedy": check.remedy,
            })
        })
        .collect();
    json!({ "healthy": response.healthy, "checks": checks })
}
