//! `thaw kill`: ends sandboxes.

use clap::Args;
use protocol::hostd::v1::KillSandboxRequest;

use crate::client::Hostd;
use crate::error::Error;
use crate::output;

#[derive(Debug, Args)]
pub struct Kill {
    /// The sandboxes
    #[arg(required = true)]
    sandboxes: Vec<String>,
}

/// Ends each of them and prints its id; goes on when one fails.
pub async fn run(hostd: &Hostd, kill: Kill) -> Result<(), Error> {
    each(&kill.sandboxes, async |id| {
        let sandbox_id = id.clone();
        hostd
            .sandboxes()
            .kill(KillSandboxRequest { sandbox_id })
            .await
    })
    .await
}

/// Makes one call for every sandbox: ids of those that went well are printed, failures are told.
pub async fn each<T>(
    sandboxes: &[String],
    call: impl AsyncFn(&String) -> Result<T, tonic::Status>,
) -> Result<(), Error> {
    let mut result = Ok(());
    for id in sandboxes {
        match call(id).await {
            Ok(_) => output::line(id)?,
            Err(status) => {
                eprint!("{}", Error::refused(id)(status).report());
                result = Err(Error::AlreadyTold);
            }
        }
    }
    result
}
