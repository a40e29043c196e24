use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::stage::{LOOPBACK, Stage, echo_host, host};
use crate::gate::Limits;
use crate::gate::pipes::Pipes;
use crate::policy::Target;
use crate::testing::only;

const LENGTH: usize = 64 << 20;

async fn connected(limits: Limits) -> (Stage, TcpStream) {
    connected_with(limits, Pipes::default()).await
}

async fn connected_with(limits: Limits, pipes: Pipes) -> (Stage, TcpStream) {
    let host = echo_host().await;
    let stage = Stage::with(only(&["127.0.0.1"]), limits, pipes).await;
    let guest = stage.connect(host).await;
    (stage, guest)
}

fn block(n: usize) -> Vec<u8> {
    (0..1 << 16)
        .map(|i| (i * 31 + n * 7 + (i >> 8)) as u8)
        .collect()
}

#[tokio::test]
async fn every_byte_passes_in_both_directions_and_half_closed_connections_go_on() {
    every_byte_passes(Pipes::default()).await;
}

#[tokio::test]
async fn every_byte_passes_without_pipes_and_with_one_for_two() {
    every_byte_passes(Pipes::new(0)).await;
    every_byte_passes(Pipes::new(1)).await;
}

async fn every_byte_passes(pipes: Pipes) {
    let (mut stage, guest) = connected_with(Limits::default(), pipes).await;
    let (mut read, mut write) = guest.into_split();
    let sending = tokio::spawn(async move {
        let mut sent = Sha256::new();
        for n in 0..LENGTH >> 16 {
            let block = block(n);
            sent.update(&block);
            write.write_all(&block).await.unwrap();
        }
        write.shutdown().await.unwrap();
        sent.finalize()
    });
    let (mut got, mut buffer, mut length) = (Sha256::new(), vec![0; 100_000], 0);
    loop {
        match read.read(&mut buffer).await.unwrap() {
            0 => break,
            some => {
                got.update(&buffer[..some]);
                length += some;
            }
        }
    }
    assert_eq!(length, LENGTH);
    assert_eq!(sending.await.unwrap(), got.finalize());
    assert!(stage.told().await.ends_with("allowed"));
    assert!(
        stage
            .told()
            .await
            .ends_with(&format!("ended after {LENGTH}/{LENGTH} bytes"))
    );
}

#[tokio::test]
async fn a_policy_that_changes_ends_what_it_refuses() {
    let (mut stage, mut guest) = connected(Limits::default()).await;
    guest.write_all(b"\x00one").await.unwrap();
    guest.read_exact(&mut [0; 4]).await.unwrap();
    stage
        .connections
        .shared
        .policy
        .replace(only(&["127.0.0.0/8"]));
    guest.write_all(b"\x00two").await.unwrap();
    guest.read_exact(&mut [0; 4]).await.unwrap();
    stage
        .connections
        .shared
        .policy
        .replace(only(&["good.example"]));
    assert!(guest.read(&mut [0; 4]).await.is_err(), "it is reset");
    assert!(stage.told().await.ends_with("allowed"));
    assert!(
        stage
            .told()
            .await
            .contains("the policy refuses the host now")
    );
}

#[tokio::test]
async fn an_address_that_is_refused_now_ends_what_goes_there() {
    let stage = Stage::new(only(&["good.example", "127.0.0.1"]), Limits::default()).await;
    let shared = &stage.connections.shared;
    let target = Target::name("good.example".parse().unwrap(), 443);
    let mut by_address = Box::pin(shared.until_refused(&target, Some(LOOPBACK.into())));
    let mut by_name = Box::pin(shared.until_refused(&target, None));
    assert!(futures::poll!(&mut by_address).is_pending());
    assert!(futures::poll!(&mut by_name).is_pending());
    shared.policy.replace(only(&["good.example"]));
    assert!(futures::poll!(&mut by_address).is_ready());
    assert!(futures::poll!(&mut by_name).is_pending());
}

#[tokio::test]
async fn no_more_hosts_are_connected_to_than_there_are_places() {
    let limits = Limits {
        hosts: 1,
        ..Limits::default()
    };
    let (mut stage, mut guest) = connected(limits).await;
    guest.write_all(b"\x00one").await.unwrap();
    guest.read_exact(&mut [0; 4]).await.unwrap();
    assert!(stage.told().await.ends_with("allowed"));
    let second = echo_host().await;
    let mut other = stage.connect(second).await;
    other.write_all(b"\x00").await.unwrap();
    let told = stage.told().await;
    assert!(told.contains("too many connections to hosts"), "{told}");
    drop(guest);
    assert!(stage.told().await.contains("ended"));
    let mut other = stage.connect(second).await;
    other.write_all(b"\x00two").await.unwrap();
    other.read_exact(&mut [0; 4]).await.unwrap();
}

#[tokio::test]
async fn a_dead_connection_is_given_up() {
    let limits = Limits {
        idle: Duration::from_secs(1),
        ..Limits::default()
    };
    let (_stage, mut guest) = connected(limits).await;
    guest.write_all(b"\x00").await.unwrap();
    guest.read_exact(&mut [0; 1]).await.unwrap();
    assert!(guest.read(&mut [0; 1]).await.is_err());
}

#[tokio::test]
async fn a_reset_on_one_side_is_one_on_the_other() {
    let host = host(|stream| async move {
        stream.readable().await.unwrap();
        crate::gate::refuse::reset(&stream);
    })
    .await;
    let stage = Stage::new(only(&["127.0.0.1"]), Limits::default()).await;
    stage.given("good.example", LOOPBACK);
    let mut guest = stage.connect(host).await;
    guest.write_all(b"\x00").await.unwrap();
    assert!(guest.read(&mut [0; 1]).await.is_err());
}
