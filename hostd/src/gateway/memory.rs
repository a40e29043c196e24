//! How much memory a client's sandbox has.

use super::config::Wanted;
use super::error::ApiError;
use crate::sandbox::spec::Source;
use crate::services::Services;
use crate::tenancy::Caller;

/// Sees to it that a sandbox has what its client asked for. A restored machine has what it was saved with, which may be more; where
/// that is less, it is booted from the snapshot's image instead, which takes longer. If the client named the snapshot, it wants what
/// is in it, and is told.
pub(super) async fn fit(
    services: &Services,
    caller: &Caller,
    wanted: &mut Wanted,
) -> Result<(), ApiError> {
    let (Some(asked), Source::Snapshot(reference)) = (wanted.memory_bytes, &wanted.spec.source)
    else {
        return Ok(());
    };
    let snapshot = services.store.find(caller, reference).await?;
    let description = &snapshot.manifest().description;
    let saved = description.machine.memory_bytes;
    if asked <= saved {
        return Ok(());
    }
    if wanted.rooted {
        return Err(ApiError::invalid(format!(
            "memory: the snapshot {reference:?} is of a machine with {} MiB; save one with more",
            saved >> 20
        )));
    }
    wanted.spec.source = Source::Image {
        name: description.image.name.clone(),
        vcpus: Some(description.machine.vcpus),
        memory_bytes: Some(asked),
        extra_cmdline: String::new(),
    };
    Ok(())
}
