//! Messages and domain types, one into the other.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use ::snapshots::manifest::Manifest;
use ::snapshots::{SnapshotId, SnapshotName};
use protocol::hostd::v1 as wire;

use super::network::{self, Opener};
use crate::error::{Error, Result};
use crate::sandbox::record::{Failure, Phase, Record, Stage, State};
use crate::sandbox::spec::{Source, Spec};
use crate::tenancy::Caller;

/// A client's request, not yet checked for what only [`Spec::check`] knows. `opener` opens its sealed secrets.
pub fn spec(request: wire::CreateSandboxRequest, opener: Opener<'_>) -> Result<Spec> {
    use wire::create_sandbox_request::Source as WireSource;
    let vcpus = (request.vcpus != 0).then_some(request.vcpus);
    let memory_bytes = (request.memory_bytes != 0).then_some(request.memory_bytes);
    let source = match request.source {
        Some(WireSource::Snapshot(reference)) => {
            if vcpus.is_some() || memory_bytes.is_some() || !request.extra_cmdline.is_empty() {
                return Err(Error::invalid(
                    "snapshot",
                    "a restored machine is as it was: vcpus, memory_bytes and extra_cmdline are for images",
                ));
            }
            Source::Snapshot(reference)
        }
        Some(WireSource::Image(name)) => Source::Image {
            name,
            vcpus,
            memory_bytes,
            extra_cmdline: request.extra_cmdline,
        },
        None => return Err(Error::invalid("source", "give a snapshot or an image")),
    };
    Ok(Spec {
        source,
        labels: labels(request.labels),
        env: labels(request.env),
        timeout: request
            .timeout
            .map(|value| duration("timeout", value))
            .transpose()?,
        hostname: (!request.hostname.is_empty()).then_some(request.hostname),
        boot_timeout: request
            .boot_timeout
            .map(|value| duration("boot_timeout", value))
            .transpose()?,
        network: request
            .network
            .map(|network| network::spec(network, opener))
            .transpose()?,
    })
}

/// A duration that is not negative.
pub fn duration(field: &'static str, value: prost_types::Duration) -> Result<Duration> {
    value
        .try_into()
        .map_err(|_| Error::invalid(field, "must not be negative"))
}

/// In a fixed order.
pub fn labels(map: HashMap<String, String>) -> BTreeMap<String, String> {
    map.into_iter().collect()
}

/// A state to filter by.
pub fn state(value: i32) -> Result<State> {
    match wire::SandboxState::try_from(value) {
        Ok(wire::SandboxState::Creating) => Ok(State::Creating),
        Ok(wire::SandboxState::Running) => Ok(State::Running),
        Ok(wire::SandboxState::Paused) => Ok(State::Paused),
        Ok(wire::SandboxState::Stopped) => Ok(State::Stopped),
        Ok(wire::SandboxState::Failed) => Ok(State::Failed),
        Ok(wire::SandboxState::Unspecified) | Err(_) => {
            Err(Error::invalid("states", format!("{value} is no state")))
        }
    }
}

/// A sandbox as clients see it.
pub fn sandbox(record: &Record) -> wire::Sandbox {
    let state = match record.phase.state() {
        State::Creating => wire::SandboxState::Creating,
        State::Running => wire::SandboxState::Running,
        State::Paused => wire::SandboxState::Paused,
        State::Stopped => wire::SandboxState::Stopped,
        State::Failed => wire::SandboxState::Failed,
    };
    let failed = match &record.phase {
        Phase::Failed(reason) => Some(failure(reason)),
        _ => None,
    };
    wire::Sandbox {
        id: record.id.to_string(),
        state: state.into(),
        labels: record.labels.clone().into_iter().collect(),
        vcpus: record.vcpus,
        memory_bytes: record.memory_bytes,
        snapshot_id: record.snapshot_id.clone().unwrap_or_default(),
        image: record.image.clone(),
        epoch: record
            .epoch
            .map(|epoch| epoch.to_string())
            .unwrap_or_default(),
        created_at: Some(record.created_at.into()),
        ended_at: record.ended_at.map(Into::into),
        expires_at: record.expires_at.map(Into::into),
        end_reason: record.phase.end_reason().to_owned(),
        failure: failed,
        create_stages: record.stages.iter().map(stage).collect(),
        organisation: record.owner().unwrap_or_default().to_owned(),
    }
}

fn failure(failure: &Failure) -> wire::Failure {
    wire::Failure {
        reason: failure.reason.name().to_owned(),
        message: failure.message.clone(),
        console_tail: failure.console_tail.clone(),
    }
}

fn stage(stage: &Stage) -> wire::Stage {
    // Stages are far shorter than what the message cannot hold.
    wire::Stage {
        name: stage.name.clone(),
        duration: stage.duration.try_into().ok(),
    }
}

/// A snapshot as clients see it.
pub fn snapshot(
    caller: &Caller,
    manifest: &Manifest,
    name: Option<&SnapshotName>,
) -> wire::Snapshot {
    let description = &manifest.description;
    let created_at = std::time::SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_millis(description.created_at_unix_ms));
    wire::Snapshot {
        id: manifest.id.to_string(),
        name: name.map_or("", |name| caller.spells(name)).to_owned(),
        labels: description.labels.clone().into_iter().collect(),
        created_at: created_at.map(Into::into),
        sandbox_id: description.sandbox_id.clone(),
        image: description.image.name.clone(),
        vcpus: description.machine.vcpus,
        memory_bytes: description.machine.memory_bytes,
        stored_bytes: manifest.stored_bytes(),
        agent_version: description.agent_version.clone(),
        paused_nanos: description.paused_nanos,
        organisation: description.organisation.clone().unwrap_or_default(),
    }
}

/// A snapshot of which only the id is known.
pub fn damaged_snapshot(id: &SnapshotId) -> wire::Snapshot {
    wire::Snapshot {
        id: id.to_string(),
        ..Default::default()
    }
}
