//! The world's own process: the namespace, and the servers in it.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rustls::ServerConfig;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::addresses::{ALL, BANNER, HTTP, HTTPS, OTHER};
use super::certificates;
use super::names;
use super::record::{AUTHORITY, QUESTIONS, REQUESTS, Record};
use super::{web, wire};

/// Makes the world, says `ready` on standard output, and serves until standard input ends. Called by a process that has
/// one thread.
pub fn run(directory: &Path) -> crate::Result {
    wire::enter()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(directory))
}

/// Answers names, and writes the authority's certificate into `directory`: what every world begins with. Called in the
/// namespace and in a runtime; returns what a web server is configured with.
pub fn begin(directory: &Path) -> crate::Result<Arc<ServerConfig>> {
    let questions = Record::create(&directory.join(QUESTIONS))?;
    let (authority, tls) = certificates::make()?;
    std::fs::write(directory.join(AUTHORITY), authority)?;
    tokio::spawn(names::serve(questions));
    Ok(tls)
}

async fn serve(directory: &Path) -> crate::Result {
    let requests = Record::create(&directory.join(REQUESTS))?;
    let tls = begin(directory)?;
    for address in ALL {
        let listener = listen(address, HTTP).await?;
        tokio::spawn(web::serve(listener, None, requests.clone()));
        let listener = listen(address, HTTPS).await?;
        tokio::spawn(web::serve(listener, Some(tls.clone()), requests.clone()));
    }
    tokio::spawn(web::greet(listen(OTHER, BANNER).await?));
    println!("ready");
    // Whoever started us holds the other end.
    let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
    Ok(())
}

async fn listen(address: Ipv4Addr, port: u16) -> crate::Result<TcpListener> {
    TcpListener::bind((address, port))
        .await
        .with_context(|| format!("listening on {address}:{port}"))
}
