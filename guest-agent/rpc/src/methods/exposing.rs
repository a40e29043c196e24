//! What is reached from outside: hostd gave out the name, and here it is said what the name leads to.

use serde::Deserialize;
use serde_json::Value;

use super::blocking;
use crate::connection::read;
use crate::exposed::{Target, expose};
use crate::state::State;
use crate::wire::{Answer, Error};

#[derive(Deserialize)]
struct Params {
    domain: String,
    port: Option<u16>,
    pid: Option<u32>,
}

pub(super) async fn call(state: &State, params: &str) -> Answer {
    let asked: Params = read(params)?;
    let target = match (asked.port, asked.pid) {
        (Some(port), None) if port > 0 => Target::Port(port),
        (None, Some(pid)) => Target::Pid(pid),
        _ => {
            let text = "either a port from 1 to 65535 or a pid is exposed";
            return Err(Error::type_error(text).into());
        }
    };
    let run = state.shared.run.clone();
    blocking(move || {
        expose(&run, &asked.domain, target).map_err(|error| Error::io(&error, "exposeHttp"))
    })
    .await?;
    Ok(Value::Null)
}
