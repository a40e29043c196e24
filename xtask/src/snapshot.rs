//! The snapshot `default`: taken once per image, vmm and hostd, and kept on the host.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::{
    cache,
    deployment::Deployment,
    digest,
    exec::{self, Call},
    host::Host,
    paths,
    products::Products,
    progress,
    service::{Options, Service},
};

/// Returns the store on `host` that has the snapshot of the default image; takes it first if
/// there is none of these very products.
///
/// # Errors
/// When the image does not boot.
pub fn ensure(host: &Host, products: &Products, deployment: &Deployment) -> Result<String> {
    let stores = format!("{}/snapshots", host.cache());
    let store = format!("{stores}/{}", key(host, products)?);
    let _lock = cache::lock_snapshots(&paths::cache()?)?;
    if host.run(&format!("[ -e {store}/complete ]")).is_ok() {
        return Ok(format!("{store}/snapshots"));
    }
    let step = progress::section("booting the default image and taking its snapshot");
    // A hostd that runs names its store among its arguments.
    host.run(&format!(
        "for old in {stores}/*; do pgrep -f -- \"--snapshots $old/\" >/dev/null || rm -rf \"$old\"; done"
    ))?;
    let service = Service::new(host, "snapshot");
    let running = service.start(deployment, &Options::default())?;
    take(host, deployment, &service)?;
    let state = service.state();
    host.run(&format!(
        "mkdir -p {store} && mv {state}/snapshots {store}/ && sync && touch {store}/complete"
    ))?;
    running.stop()?;
    step.done();
    Ok(format!("{store}/snapshots"))
}

fn take(host: &Host, deployment: &Deployment, service: &Service<'_>) -> Result<()> {
    let endpoint = format!("unix:{}", service.socket());
    let words = [
        "images",
        "snapshot",
        "--endpoint",
        &endpoint,
        "--image",
        "default",
    ];
    let command: Vec<_> = words.iter().map(Into::into).collect();
    let call = Call {
        path: std::slice::from_ref(&deployment.programs),
        variables: &[],
        command: &command,
    };
    match exec::run(host, &call)? {
        0 => Ok(()),
        status => bail!("taking the snapshot failed (status {status})"),
    }
}

/// What a snapshot depends on: the image, who wrote it, and the machine, because a cache may
/// be carried to another one with another clock, and another QEMU emulates another CPU.
fn key(host: &Host, products: &Products) -> Result<String> {
    let images = products.images.as_ref().context("no image was built")?;
    let mut parts = vec![
        fs::read_to_string(images.join("default/image.json"))?,
        fs::read_to_string("/proc/sys/kernel/random/boot_id")?,
        host.run("grep -m1 ^flags /proc/cpuinfo; cat /sys/class/dmi/id/bios_version || true")?,
    ];
    for program in ["hostd", "vmm"] {
        parts.push(digest::of_file(products.program(program)?)?);
    }
    Ok(digest::of_parts(parts.iter().map(String::as_str))[..16].to_owned())
}
