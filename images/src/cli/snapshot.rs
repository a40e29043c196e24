//! `images snapshot`

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use images::recipe::{self, Recipe};
use protocol::{
    hostd::v1::{
        CreateSandboxRequest, CreateSnapshotRequest, ExecRequest, KillSandboxRequest, Sandbox,
        Snapshot, create_sandbox_request::Source,
    },
    types::v1::{
        ProcessInput, ProcessSpec, exit_status::Status, process_input::Input,
        process_output::Output,
    },
};

use super::client::Hostd;

/// How much of a failed warm-up program's output is kept for the error.
const SHOWN: usize = 2048;

/// Boot an image, warm it up and save it, as a client of hostd.
///
/// A restored sandbox then has the programs that its users start in its page cache.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Where hostd listens: unix:PATH or http://ADDRESS:PORT.
    #[arg(
        long,
        env = "THAW_ENDPOINT",
        default_value = "unix:/run/thaw/hostd.sock"
    )]
    endpoint: String,
    /// File with the token that hostd asks for.
    #[arg(long, env = "THAW_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The installed image to boot.
    #[arg(long, default_value = "default")]
    image: String,
    /// The snapshot's name; taken from the one that has it.
    #[arg(long, default_value = "default")]
    name: String,
    /// Whose warm-up to run [default: the recipe `default`].
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Kernel options added for this boot.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    extra_cmdline: String,
}

/// Runs the command.
///
/// # Errors
/// When hostd cannot be reached, or the image does not boot, or a warm-up program fails.
pub async fn run(arguments: &Arguments) -> Result<()> {
    let text = match &arguments.recipe {
        Some(path) => std::fs::read_to_string(path).with_context(|| path.display().to_string())?,
        None => recipe::DEFAULT.to_owned(),
    };
    let recipe = Recipe::parse(&text)?;
    let hostd = Hostd::connect(&arguments.endpoint, arguments.token_file.as_deref()).await?;

    eprintln!("booting image {}", arguments.image);
    let sandbox = boot(&hostd, arguments).await?;
    let taken = warm_up_and_save(&hostd, &sandbox, &recipe, &arguments.name).await;
    // Whatever happened, nothing is left running.
    let killed = hostd
        .sandboxes()
        .kill(KillSandboxRequest {
            sandbox_id: sandbox.id.clone(),
        })
        .await;
    let snapshot = taken?;
    killed?;
    println!(
        "{} {} {}",
        snapshot.id, snapshot.name, snapshot.stored_bytes
    );
    Ok(())
}

async fn boot(hostd: &Hostd, arguments: &Arguments) -> Result<Sandbox> {
    let request = CreateSandboxRequest {
        source: Some(Source::Image(arguments.image.clone())),
        extra_cmdline: arguments.extra_cmdline.clone(),
        ..Default::default()
    };
    Ok(hostd
        .sandboxes()
        .create(request)
        .await
        .context("the image does not boot")?
        .into_inner())
}

async fn warm_up_and_save(
    hostd: &Hostd,
    sandbox: &Sandbox,
    recipe: &Recipe,
    name: &str,
) -> Result<Snapshot> {
    for command in &recipe.warm_up {
        eprintln!("warming up: {}", command.join(" "));
        exec(hostd, &sandbox.id, command).await?;
    }
    eprintln!("saving");
    let request = CreateSnapshotRequest {
        sandbox_id: sandbox.id.clone(),
        name: name.to_owned(),
        replace: true,
        labels: [("image".to_owned(), sandbox.image.clone())].into(),
    };
    Ok(hostd
        .snapshots()
        .create(request)
        .await
        .context("cannot take the snapshot")?
        .into_inner())
}

/// Runs a program to its end; anything but status 0 is an error.
async fn exec(hostd: &Hostd, sandbox_id: &str, command: &[String]) -> Result<()> {
    let Some((program, args)) = command.split_first() else {
        bail!("an empty warm-up command")
    };
    let spec = ProcessSpec {
        program: program.clone(),
        args: args.to_vec(),
        ..Default::default()
    };
    let start = ExecRequest {
        sandbox_id: sandbox_id.to_owned(),
        input: Some(ProcessInput {
            input: Some(Input::Start(spec)),
        }),
    };
    let mut output = hostd
        .processes()
        .exec(tokio_stream::once(start))
        .await?
        .into_inner();
    let mut printed = Vec::new();
    while let Some(message) = output.message().await? {
        match message.output {
            Some(Output::Stdout(bytes) | Output::Stderr(bytes)) => {
                let room = SHOWN.saturating_sub(printed.len());
                printed.extend(bytes.into_iter().take(room));
            }
            Some(Output::Exited(status)) if status.status == Some(Status::Code(0)) => return Ok(()),
            Some(Output::Exited(status)) => {
                let printed = String::from_utf8_lossy(&printed);
                bail!(
                    "{program} failed while warming up ({:?}): {printed}",
                    status.status
                );
            }
            Some(Output::Started(_)) | None => {}
        }
    }
    bail!("{program} ended without a status")
}
