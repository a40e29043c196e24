//! A small internet on the host, for programs in sandboxes to reach: see `tests::world`.

use std::{thread::sleep, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{deployment::Deployment, host::Host};

/// Making a certificate and a network takes a moment where the processor is emulated.
const TICKS: u32 = 600;
const TICK: Duration = Duration::from_millis(100);
/// Who knows its names.
const NAME_SERVER: &str = "11.22.33.53";

/// A running one.
#[derive(Debug)]
pub struct World<'a> {
    host: &'a Host,
    directory: String,
}

impl<'a> World<'a> {
    /// Starts it and waits until its servers listen. A host has room for one.
    ///
    /// # Errors
    /// When they do not.
    pub fn start(host: &'a Host, deployment: &Deployment) -> Result<Self> {
        let directory = format!("{}/world", host.runtime());
        let world = Self { host, directory };
        world.end()?;
        let (directory, programs) = (&world.directory, &deployment.programs);
        // It ends when its input does, which is when the process that was noted is killed.
        host.run(&format!(
            "mkdir -p {directory}; setsid sh -c 'sleep infinity & echo $! >{directory}/pid; wait' 2>/dev/null \
             | {programs}/world {directory} >{directory}/out 2>&1 &"
        ))?;
        for _ in 0..TICKS {
            if host.run(&format!("grep -qx ready {directory}/out")).is_ok() {
                return Ok(world);
            }
            sleep(TICK);
        }
        bail!(
            "its servers do not start: {}",
            host.run(&format!("cat {directory}/out"))?
        )
    }

    /// How a hostd gets to know it.
    pub fn hostd_arguments(&self) -> String {
        format!(
            " --network on --dns {NAME_SERVER} --upstream-ca {}/authority.pem",
            self.directory
        )
    }

    /// The last request that its servers have received.
    ///
    /// # Errors
    /// When there was none.
    pub fn last_request(&self) -> Result<Value> {
        let line = self
            .host
            .run(&format!("tail -n 1 {}/requests", self.directory))?;
        serde_json::from_str(&line).context("its servers have received nothing")
    }

    /// Ends it and removes its files.
    ///
    /// # Errors
    /// When the host cannot be asked.
    pub fn close(self) -> Result<()> {
        self.end()
    }

    /// The same, if it runs.
    fn end(&self) -> Result<()> {
        let directory = &self.directory;
        self.host
            .run(&format!(
                "kill $(cat {directory}/pid 2>/dev/null) 2>/dev/null; rm -rf {directory}"
            ))
            .map(drop)
    }
}

impl Drop for World<'_> {
    /// On the way of an error, which is what gets told.
    fn drop(&mut self) {
        let _ = self.end();
    }
}
