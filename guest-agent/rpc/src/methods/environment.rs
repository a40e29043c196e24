//! Variables: what programs are started with from now on.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::connection::read;
use crate::state::State;
use crate::wire::{Answer, Error, Failure};

#[derive(Deserialize)]
struct Key {
    key: String,
}

#[derive(Deserialize)]
struct Pair {
    key: String,
    value: String,
}

pub(super) fn call(state: &State, method: &str, params: &str) -> Answer {
    match method {
        "envGet" => {
            let Key { key } = read(params)?;
            check(&key)?;
            Ok(json!(state.shared.variables().get(&key)))
        }
        "envSet" => {
            let Pair { key, value } = read(params)?;
            check(&key)?;
            if value.contains('\0') {
                return Err(Error::type_error("a value cannot hold a NUL").into());
            }
            state.shared.variables().insert(key, value);
            Ok(Value::Null)
        }
        "envToObject" => Ok(json!(*state.shared.variables())),
        "envDelete" => {
            let Key { key } = read(params)?;
            check(&key)?;
            state.shared.variables().remove(&key);
            Ok(Value::Null)
        }
        _ => Err(Failure::UnknownMethod),
    }
}

/// As Deno checks it.
fn check(key: &str) -> Result<(), Error> {
    if key.is_empty() || key.contains(['=', '\0']) {
        return Err(Error::type_error(format!(
            "{key:?} is no name of a variable"
        )));
    }
    Ok(())
}
