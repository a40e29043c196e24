//! The restore barrier: before anything may run in a guest that was restored, or booted, it becomes a machine of
//! its own. The agent takes entropy, clock and names, in this order, and only then lets processes run.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use protocol::agent::v1::EnterRequest;
use uuid::Uuid;

use super::{Agent, limited};
use crate::error::{Error, Result};

/// Twice the kernel's pool.
const ENTROPY_BYTES: usize = 64;
/// The agent makes a few system calls; a guest that needs longer is stuck.
const ENTER_LIMIT: Duration = Duration::from_secs(30);

/// What makes a guest a machine of its own.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Never used twice.
    pub epoch: Uuid,
    /// A DNS label.
    pub hostname: String,
    /// 32 hexadecimal digits.
    pub machine_id: String,
    /// Of every process started from now on.
    pub env: BTreeMap<String, String>,
    /// The certificate (PEM) that its programs are to trust; empty: none.
    pub authority_pem: String,
}

impl Identity {
    /// A machine that never was before.
    pub fn fresh(hostname: String, env: BTreeMap<String, String>) -> Self {
        Self {
            epoch: Uuid::new_v4(),
            hostname,
            machine_id: Uuid::new_v4().simple().to_string(),
            env,
            authority_pem: String::new(),
        }
    }
}

impl Agent {
    /// Passes the barrier. `same_machine` undoes a Freeze: the guest is still who it was.
    pub async fn enter(&self, identity: &Identity, same_machine: bool) -> Result<()> {
        let mut entropy = vec![0; ENTROPY_BYTES];
        getrandom::fill(&mut entropy).map_err(|error| Error::Host {
            doing: "drawing entropy".into(),
            cause: error.to_string(),
        })?;
        let mut request = EnterRequest {
            epoch: identity.epoch.to_string(),
            entropy,
            wall_clock: None,
            hostname: identity.hostname.clone(),
            machine_id: identity.machine_id.clone(),
            env: identity.env.clone().into_iter().collect(),
            same_machine,
            authority_pem: identity.authority_pem.clone(),
        };
        let mut control = self.control();
        // As late as possible: what passes from here on is the guest's clock error.
        request.wall_clock = Some(SystemTime::now().into());
        let entered = limited("Enter", ENTER_LIMIT, control.enter(request)).await?;
        if entered.epoch != identity.epoch.to_string() {
            return Err(Error::AgentProtocol(
                "Enter was answered with another epoch".into(),
            ));
        }
        tracing::debug!(epoch = %identity.epoch, clock_step_ns = entered.clock_step_ns, "barrier passed");
        Ok(())
    }
}
