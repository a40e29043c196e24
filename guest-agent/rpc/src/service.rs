//! One process for all clients of a sandbox.
//!
//! The agent starts a *relay* for each client, with the client's frames on its standard input and output. The first relay starts the
//! *service*, which lives as long as the sandbox: programs that a client started go on when it has gone, and the next one finds
//! them and the variables again.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

use crate::{HOME, Shared, connection};

/// Where the service is, below a directory of its own.
const SOCKET: &str = "rpc.sock";
/// Held by the one service that there is.
const LOCK: &str = "rpc.lock";
/// How long a service may take to listen.
const START_TIME: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(5);

/// Carries one client's frames between standard input and output and the service, which is started if there is none: with
/// `start`, which calls [`serve`] for the same directory.
///
/// # Errors
/// The service cannot be started or reached, or the streams broke.
pub fn relay(directory: &Path, start: &mut Command) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let mut service = match UnixStream::connect(socket(directory)).await {
            Ok(service) => service,
            Err(_) => begun(directory, start).await?,
        };
        let mut client = tokio::io::join(tokio::io::stdin(), tokio::io::stdout());
        tokio::io::copy_bidirectional(&mut client, &mut service).await?;
        Ok(())
    });
    // A read of standard input that is under way is not waited for.
    runtime.shutdown_background();
    done
}

/// Starts the service; of two that are started at once one ends at once.
async fn begun(directory: &Path, start: &mut Command) -> io::Result<UnixStream> {
    start
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Not of the relay's group, with which it would end.
        .process_group(0)
        .spawn()?;
    let reached = timeout(START_TIME, async {
        loop {
            match UnixStream::connect(socket(directory)).await {
                Ok(service) => break service,
                Err(_) => sleep(RETRY).await,
            }
        }
    });
    reached
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the service did not start"))
}

/// Serves all clients, for ever.
///
/// # Errors
/// It cannot listen. When there is one already, that is none.
pub fn serve(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let lock = File::create(directory.join(LOCK))?;
    let Ok(_lock) = Flock::lock(lock, FlockArg::LockExclusiveNonblock) else {
        return Ok(());
    };
    fs::create_dir_all(HOME)?;
    std::env::set_current_dir(HOME)?;
    runtime()?.block_on(async {
        let path = socket(directory);
        // Of a service that was killed.
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        let shared = Arc::new(Shared::in_directory(directory));
        loop {
            match listener.accept().await {
                Ok((client, _)) => {
                    let (reader, writer) = client.into_split();
                    let shared = Arc::clone(&shared);
                    tokio::spawn(async move { connection::serve(shared, reader, writer).await });
                }
                // No descriptor, no memory: there may be some again.
                Err(_) => sleep(RETRY).await,
            }
        }
    })
}

fn socket(directory: &Path) -> PathBuf {
    directory.join(SOCKET)
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}
