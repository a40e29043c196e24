//! SFTP, version 3 (draft-ietf-secsh-filexfer-02, with what OpenSSH adds to it), for the files of the sandbox: on standard input and
//! output of a process that hostd starts for a client of SSH, whose bytes it passes on unread.

mod attributes;
mod server;

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

pub use server::Server;

/// Serves until standard input ends. Relative paths are relative to the working directory.
///
/// # Errors
/// There is no runtime.
pub fn serve() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve_on(tokio::io::join(
        tokio::io::stdin(),
        tokio::io::stdout(),
    )));
    // A read of standard input that is under way is not waited for.
    runtime.shutdown_background();
    Ok(())
}

/// Serves one client until its stream ends.
pub async fn serve_on<S>(stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // The library tells nobody when it is done, but drops what it was given.
    let (alive, ended) = oneshot::channel();
    russh_sftp::server::run(stream, Server::new(alive)).await;
    let _ = ended.await;
}
