//! `thaw pause` and `thaw resume`.

use clap::Args;
use protocol::hostd::v1::{PauseSandboxRequest, ResumeSandboxRequest};

use super::kill::each;
use crate::client::Hostd;
use crate::error::Error;

#[derive(Debug, Args)]
pub struct Pause {
    /// The sandboxes
    #[arg(required = true)]
    sandboxes: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Resume {
    /// The sandboxes
    #[arg(required = true)]
    sandboxes: Vec<String>,
}

pub async fn pause(hostd: &Hostd, pause: Pause) -> Result<(), Error> {
    each(&pause.sandboxes, async |id| {
        let sandbox_id = id.clone();
        hostd
            .sandboxes()
            .pause(PauseSandboxRequest { sandbox_id })
            .await
    })
    .await
}

pub async fn resume(hostd: &Hostd, resume: Resume) -> Result<(), Error> {
    each(&resume.sandboxes, async |id| {
        let sandbox_id = id.clone();
        hostd
            .sandboxes()
            .resume(ResumeSandboxRequest { sandbox_id })
            .await
    })
    .await
}
