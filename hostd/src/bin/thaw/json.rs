//! The API's messages as JSON, with the field names of the .proto files.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use prost_types::Timestamp;
use protocol::hostd::v1::{Sandbox, Snapshot, Token, TokenScope, check};
use protocol::types::v1::{ExitStatus, ProcessInfo, exit_status};
use serde_json::{Value, json};

/// A sandbox, with its failure if it failed.
pub fn sandbox(sandbox: &Sandbox) -> Value {
    json!({
        "id": sandbox.id,
        "state": state(sandbox),
        "labels": sorted(&sandbox.labels),
        "vcpus": sandbox.vcpus,
        "memory_bytes": sandbox.memory_bytes,
        "snapshot_id": some(&sandbox.snapshot_id),
        "image": sandbox.image,
        "epoch": sandbox.epoch,
        "organisation": some(&sandbox.organisation),
        "created_at": time(sandbox.created_at.as_ref()),
        "ended_at": time(sandbox.ended_at.as_ref()),
        "expires_at": time(sandbox.expires_at.as_ref()),
        "end_reason": some(&sandbox.end_reason),
        "failure": sandbox.failure.as_ref().map(|failure| json!({
            "reason": failure.reason,
            "message": failure.message,
            "console_tail": failure.console_tail,
        })),
        "create_stages": sandbox.create_stages.iter().map(|stage| json!({
            "name": stage.name,
            "milliseconds": stage.duration.as_ref().map(milliseconds),
        })).collect::<Vec<_>>(),
    })
}

/// A snapshot.
pub fn snapshot(snapshot: &Snapshot) -> Value {
    json!({
        "id": snapshot.id,
        "name": some(&snapshot.name),
        "labels": sorted(&snapshot.labels),
        "created_at": time(snapshot.created_at.as_ref()),
        "sandbox_id": snapshot.sandbox_id,
        "image": snapshot.image,
        "vcpus": snapshot.vcpus,
        "memory_bytes": snapshot.memory_bytes,
        "stored_bytes": snapshot.stored_bytes,
        "agent_version": snapshot.agent_version,
        "paused_nanos": snapshot.paused_nanos,
        "organisation": some(&snapshot.organisation),
    })
}

/// A token, without its secret.
pub fn token(token: &Token) -> Value {
    let quota = token.quota.unwrap_or_default();
    json!({
        "id": token.id,
        "name": some(&token.name),
        "organisation": token.organisation,
        "scopes": scopes(token),
        "quota": {
            "sandboxes": limit(quota.sandboxes.into()),
            "memory_bytes": limit(quota.memory_bytes),
            "creates_per_minute": limit(quota.creates_per_minute.into()),
        },
        "created_at": time(token.created_at.as_ref()),
        "expires_at": time(token.expires_at.as_ref()),
        "parent": some(&token.parent),
        "sandboxes": token.sandboxes,
        "memory_bytes": token.memory_bytes,
    })
}

/// What a token is good for.
pub fn scopes(token: &Token) -> Vec<String> {
    let name = |scope: TokenScope| lower(scope.as_str_name(), "TOKEN_SCOPE_");
    token.scopes().map(name).collect()
}

/// A process of a sandbox.
pub fn process(process: &ProcessInfo) -> Value {
    json!({
        "pid": process.pid,
        "program": process.program,
        "args": process.args,
        "started_at": time(process.started_at.as_ref()),
        "attached": process.attached,
        "pty": process.pty,
        "exit": process.exit.as_ref().map(exit),
    })
}

/// A sandbox's state in lower case, as people say it.
pub fn state(sandbox: &Sandbox) -> String {
    lower(sandbox.state().as_str_name(), "SANDBOX_STATE_")
}

/// A verdict of `doctor`.
pub fn verdict(verdict: check::Verdict) -> String {
    lower(verdict.as_str_name(), "VERDICT_")
}

/// A point in time as RFC 3339 in UTC; null when absent or before 1970.
pub fn time(timestamp: Option<&Timestamp>) -> Option<String> {
    let time = system_time(timestamp?)?;
    Some(humantime::format_rfc3339_millis(time).to_string())
}

/// A point in time, when it is one that this machine can name.
pub fn system_time(timestamp: &Timestamp) -> Option<SystemTime> {
    // The formatter knows the years up to 9999.
    const LAST: i64 = 253_402_300_799;
    let in_range = (0..=LAST).contains(&timestamp.seconds);
    SystemTime::try_from(*timestamp).ok().filter(|_| in_range)
}

fn exit(exit: &ExitStatus) -> Value {
    match exit.status {
        Some(exit_status::Status::Code(code)) => json!({ "code": code }),
        Some(exit_status::Status::Signal(signal)) => {
            json!({ "signal": signal, "timed_out": exit.timed_out })
        }
        None => Value::Null,
    }
}

fn milliseconds(duration: &prost_types::Duration) -> f64 {
    duration.seconds as f64 * 1e3 + f64::from(duration.nanos) / 1e6
}

fn lower(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_ascii_lowercase()
}

/// Proto3 has empty strings where JSON has null.
fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// Of what is not limited it has 0.
fn limit(most: u64) -> Option<u64> {
    Some(most).filter(|most| *most != 0)
}

fn sorted(labels: &HashMap<String, String>) -> BTreeMap<&str, &str> {
    labels
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::hostd::v1::SandboxState;

    #[test]
    fn a_sandbox() {
        let value = sandbox(&Sandbox {
            id: "sbx_1".to_owned(),
            state: SandboxState::Running.into(),
            created_at: Some(Timestamp {
                seconds: 0,
                nanos: 0,
            }),
            ..Sandbox::default()
        });
        assert_eq!(value["state"], "running");
        assert_eq!(value["created_at"], "1970-01-01T00:00:00.000Z");
        assert_eq!(value["ended_at"], Value::Null);
    }

    #[test]
    fn absurd_times_are_null() {
        for seconds in [i64::MIN, -1, i64::MAX] {
            assert_eq!(time(Some(&Timestamp { seconds, nanos: 0 })), None);
        }
    }
}
