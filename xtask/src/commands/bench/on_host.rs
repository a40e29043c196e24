//! A bench that needs VMs.

use std::{ffi::OsString, fs, path::Path};

use anyhow::{Context, Result};

use super::Arguments;
use crate::{
    deployment::{self, Deployment},
    exec::{self, Call},
    lease::Lease,
    products, snapshot,
};

/// Runs `bench-NAME` on a host where VMs can run, and writes what it measured to `json`.
pub fn run(arguments: &Arguments, json: &Path) -> Result<u8> {
    let program = format!("bench-{}", arguments.name);
    let products = products::get(arguments.no_build)?;
    let lease = Lease::take(&products)?;
    let host = &lease.host;
    let deployment = Deployment::new(host, &products)?;
    let snapshots = snapshot::ensure(host, &products, &deployment)?;

    let remote = format!("{}/{program}.json", host.scratch());
    let mut command: Vec<OsString> = vec![program.into(), "--json".into(), (&remote).into()];
    command.extend(arguments.arguments.iter().cloned());
    let mut variables = deployment.variables(Some(&snapshots));
    if arguments.name == "sdk" {
        variables.push(deployment::sdks(host)?);
    }
    let call = Call {
        path: std::slice::from_ref(&deployment.programs),
        variables: &variables,
        command: &command,
    };
    let status = exec::run(host, &call)?;
    if status == 0 {
        let text = host.run(&format!("cat {remote} && rm {remote}"))?;
        fs::write(json, text).with_context(|| format!("cannot write {}", json.display()))?;
    }
    lease.end()?;
    Ok(status)
}
