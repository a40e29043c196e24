//! The guest's DNS sockets.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::question::MAX_QUESTION;
use super::service::Service;
use crate::gate::Shared;

/// Connections of TCP at once; a resolver needs one.
const STREAMS: usize = 16;
/// A connection without a whole question for so long is closed (RFC 7766 speaks of seconds).
const IDLE: Duration = Duration::from_secs(10);
/// Datagrams that are being answered: most are answered without waiting, the others are bounded by
/// [`crate::gate::Limits::questions`].
const DATAGRAMS: usize = 256;
/// After the system had no descriptor or memory for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers the guest's questions until it is dropped.
pub async fn serve(shared: Arc<Shared>, udp: UdpSocket, tcp: TcpListener) {
    let service = Arc::new(Service::new(shared));
    tokio::join!(
        serve_udp(service.clone(), Arc::new(udp)),
        serve_tcp(service, tcp)
    );
}

async fn serve_udp(service: Arc<Service>, socket: Arc<UdpSocket>) {
    let (mut tasks, free) = (JoinSet::new(), Arc::new(Semaphore::new(DATAGRAMS)));
    // One byte more than may come, so that what is too long is seen to be.
    let mut buffer = [0; MAX_QUESTION + 1];
    loop {
        while tasks.try_join_next().is_some() {}
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            // An earlier reply could not be delivered.
            tokio::task::yield_now().await;
            continue;
        };
        let Ok(permit) = free.clone().try_acquire_owned() else {
            continue;
        };
        let question = buffer.get(..length).unwrap_or_default().to_vec();
        let (service, socket) = (service.clone(), socket.clone());
        tasks.spawn(async move {
            if let Some(reply) = service.answer(&question, true).await {
                // The guest is free not to listen.
                let _ = socket.send_to(&reply, from).await;
            }
            drop(permit);
        });
    }
}

async fn serve_tcp(service: Arc<Service>, listener: TcpListener) {
    let (mut tasks, free) = (JoinSet::new(), Arc::new(Semaphore::new(STREAMS)));
    loop {
        while tasks.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        let Ok(permit) = free.clone().try_acquire_owned() else {
            continue;
        };
        let service = service.clone();
        tasks.spawn(async move {
            // It ends when the guest ends it, or breaks the rules.
            let _ = serve_stream(&service, stream).await;
            drop(permit);
        });
    }
}

async fn serve_stream(service: &Service, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let question = timeout(IDLE, read(&mut stream)).await??;
        let Some(reply) = service.answer(&question, false).await else {
            return Ok(());
        };
        let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
        let framed = [&length.to_be_bytes()[..], &reply].concat();
        timeout(IDLE, stream.write_all(&framed)).await??;
    }
}

async fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > MAX_QUESTION {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut question = vec![0; length];
    stream.read_exact(&mut question).await?;
    Ok(question)
}
