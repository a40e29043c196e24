//! `thaw cp`: files and directories between here and a sandbox.
//!
//! Like `cp -r`: a destination that is a directory receives the source under its own name.
//! Permission bits are kept; ownership is not. Symbolic links inside a directory are copied
//! as links, sockets, pipes and devices are left out and told.

mod download;
mod location;
mod remote;
mod upload;

use std::str::FromStr;

use clap::Args;

use crate::client::Hostd;
use crate::error::Error;
use location::Location;
use remote::Remote;

#[derive(Debug, Args)]
pub struct Cp {
    /// PATH here, SANDBOX:PATH there, or - for standard input
    #[arg(value_parser = Location::from_str)]
    from: Location,
    /// PATH here, SANDBOX:PATH there, or - for standard output
    #[arg(value_parser = Location::from_str)]
    to: Location,
}

/// Copies; the first failure ends it.
pub async fn run(hostd: &Hostd, cp: Cp) -> Result<(), Error> {
    match (cp.from, cp.to) {
        (Location::Standard, Location::Sandbox { sandbox, path }) => {
            upload::standard_input(&Remote::new(hostd, sandbox), &path).await
        }
        (Location::Here(from), Location::Sandbox { sandbox, path }) => {
            upload::tree(&Remote::new(hostd, sandbox), &from, &path).await
        }
        (Location::Sandbox { sandbox, path }, Location::Standard) => {
            download::standard_output(&Remote::new(hostd, sandbox), &path).await
        }
        (Location::Sandbox { sandbox, path }, Location::Here(to)) => {
            download::tree(&Remote::new(hostd, sandbox), &path, &to).await
        }
        _ => Err(Error::Usage(
            "one of the two must be SANDBOX:PATH, and the other one a path here or -".to_owned(),
        )),
    }
}
