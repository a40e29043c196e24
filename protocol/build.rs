//! Compiles the .proto files in Rust (protox), so that no `protoc` has to be installed.

use std::error::Error;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = [
        "thaw/agent/v1/agent.proto",
        "thaw/hostd/v1/files.proto",
        "thaw/hostd/v1/host.proto",
        "thaw/hostd/v1/networks.proto",
        "thaw/hostd/v1/processes.proto",
        "thaw/hostd/v1/sandboxes.proto",
        "thaw/hostd/v1/snapshots.proto",
        "thaw/hostd/v1/tokens.proto",
        "thaw/types/v1/file.proto",
        "thaw/types/v1/process.proto",
        "thaw/vmm/v1/vmm.proto",
    ];
    let descriptors = protox::compile(files, [Path::new("proto")])?;

    // The reflection service hands this out.
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(
        out.join("descriptors.bin"),
        prost::Message::encode_to_vec(&descriptors),
    )?;

    let grpc = std::env::var_os("CARGO_FEATURE_GRPC").is_some();
    tonic_prost_build::configure()
        .build_client(grpc)
        .build_server(grpc)
        .bytes(".thaw.types.v1")
        .bytes(".thaw.agent.v1.DialInput")
        .bytes(".thaw.agent.v1.DialOutput")
        .compile_fds(descriptors)?;
    Ok(())
}
