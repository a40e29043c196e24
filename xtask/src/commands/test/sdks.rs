//! The official Deno Sandbox SDKs on this machine, against what `cargo xtask up` starts on the host.

use std::{process::Command, thread::sleep, time::Duration};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    deployment::Deployment,
    doors::{Doors, Ports},
    exec,
    host::Host,
    products::{self, Products},
    progress,
    service::Service,
    tools,
    world::World,
};

/// The name of this hostd. It works beside what `up` has started, which must be left alone meanwhile: what is left behind in the
/// end is told by what there is more than before.
const NAME: &str = "sdk-test";
/// Of a hostd's log, after a failure.
const SHOWN_LINES: u32 = 60;
/// What ends may take a moment to be gone.
const END_PATIENCE: Duration = Duration::from_secs(20);
const TICK: Duration = Duration::from_millis(500);

/// Runs the test program; whether all passed. `line` gets what it prints.
///
/// # Errors
/// When hostd cannot be started, or something of it is left.
pub fn run(
    program: &mut Command,
    products: &Products,
    deployment: &Deployment,
    snapshots: &str,
    host: &Host,
    line: &mut impl FnMut(&str),
) -> Result<bool> {
    tools::ensure(tools::SDK_CLIENTS)?;
    let packages = products::sdks()?;
    let binaries = products.program("thaw")?.parent().context("no directory")?;
    let before = Remains::look(host)?;
    let world = World::start(host, deployment)?;
    let service = Service::new(host, NAME);
    let more = world.hostd_arguments();
    let doors = Doors::open(&service, deployment, snapshots, Ports::free()?, &more)?;
    progress::say(format!("hostd runs on {}", host.describe()));
    let Ports {
        api,
        gateway,
        ingress,
        ..
    } = doors.ports;
    program
        .env("THAW_MUST_RUN", "1")
        .env("THAW_BIN", binaries)
        .env("THAW_ENDPOINT", format!("http://127.0.0.1:{api}"))
        .env("THAW_TOKEN_FILE", &doors.token_file)
        .env("THAW_GATEWAY", format!("127.0.0.1:{gateway}"))
        .env("THAW_INGRESS", format!("127.0.0.1:{ingress}"))
        .env("THAW_CERTIFICATE", &doors.certificate)
        .env("THAW_SDK_PACKAGES", packages);
    let passed = exec::run_here(program, line, || host.symptoms().is_some())?;
    let log = service.log(SHOWN_LINES);
    let panics = host.run(&format!(
        "grep -c 'panicked at' {} || true",
        service.file("log")
    ))?;
    if !passed && host.symptoms().is_none() {
        println!("--- hostd\n{log}");
    }
    doors.close()?;
    world.close()?;
    ensure!(panics.trim() == "0", "hostd panicked:\n{log}");
    before.is_all(host)?;
    Ok(passed)
}

/// What hostds have of a host.
#[derive(Debug)]
struct Remains {
    vmms: u32,
    cgroups: u32,
}

impl Remains {
    fn look(host: &Host) -> Result<Self> {
        let count = |line: &str| -> Result<u32> { Ok(host.run(line)?.trim().parse()?) };
        Ok(Self {
            vmms: count("pgrep -cx vmm || true")?,
            cgroups: count("find /sys/fs/cgroup -type d -name 'vmm-*' | wc -l")?,
        })
    }

    /// Waits until there is no more than this.
    fn is_all(&self, host: &Host) -> Result<()> {
        let mut left = Self::look(host)?;
        for _ in 0..END_PATIENCE.as_millis() / TICK.as_millis() {
            if left.vmms <= self.vmms && left.cgroups <= self.cgroups {
                return Ok(());
            }
            sleep(TICK);
            left = Self::look(host)?;
        }
        bail!("hostd has ended and left {left:?}; before it there was {self:?}")
    }
}
