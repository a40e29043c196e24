//! The task that owns a sandbox: makes it, serves its commands, notices its end, removes it.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::end::End;
use super::machine::Machine;
use super::plan::Plan;
use super::record::{Phase, Record, StopReason};
use super::{COMMAND_QUEUE, Command, Expiry, Sandbox, Shared};
use crate::agent::barrier::Identity;
use crate::error::{Context, Error, Result, chain};
use crate::network::ResolvedNetwork;
use crate::services::{Event, Services};
use crate::tenancy::Held;

/// When a step fails because the vmm is dying, its death is noticed within this, and is the better reason.
const DEATH_NOTICE: Duration = Duration::from_millis(250);

/// The task's own state.
pub struct Actor {
    pub(super) services: Arc<Services>,
    pub(super) shared: Arc<Shared>,
    pub(super) plan: Plan,
    pub(super) identity: Identity,
    pub(super) network: Option<ResolvedNetwork>,
    pub(super) boot_timeout: Duration,
    record: watch::Sender<Arc<Record>>,
    /// Counts against the limits for as long as anything of the sandbox is there but its record.
    place: Option<Place>,
}

/// What a sandbox takes of what is limited.
#[derive(Debug)]
pub struct Place {
    /// Of the host's.
    pub permit: OwnedSemaphorePermit,
    /// Of its maker's.
    pub held: Held,
}

/// What a new actor is given.
pub struct Birth {
    /// The first record, in phase Creating.
    pub record: Record,
    /// What it will run.
    pub plan: Plan,
    /// Who it will be.
    pub identity: Identity,
    /// What it may reach; nothing when absent.
    pub network: Option<ResolvedNetwork>,
    /// How long its guest may take.
    pub boot_timeout: Duration,
    /// When it ends by itself, counted from now.
    pub timeout: Option<Duration>,
    /// Its place among the sandboxes.
    pub place: Place,
}

/// The queue of a sandbox's commands.
#[derive(Debug)]
pub struct Commands(mpsc::Receiver<Command>);

impl Actor {
    /// The task, what it will be asked, and the handle to it. Nothing has happened yet.
    pub fn new(services: Arc<Services>, mut birth: Birth) -> (Self, Commands, Sandbox) {
        let expiry = birth.timeout.and_then(Expiry::after);
        birth.record.expires_at = expiry.map(|expiry| expiry.shown);
        let shared = Arc::new(Shared {
            id: birth.record.id.clone(),
            agent: OnceLock::new(),
            network: OnceLock::new(),
            open: watch::Sender::new(false),
            expires: watch::Sender::new(expiry),
            kill: CancellationToken::new(),
        });
        let (commands, queue) = mpsc::channel(COMMAND_QUEUE);
        let (publisher, record) = watch::channel(Arc::new(birth.record));
        let actor = Self {
            services,
            shared: shared.clone(),
            plan: birth.plan,
            identity: birth.identity,
            network: birth.network,
            boot_timeout: birth.boot_timeout,
            record: publisher,
            place: Some(birth.place),
        };
        (
            actor,
            Commands(queue),
            Sandbox {
                shared,
                commands,
                record,
            },
        )
    }

    /// Lives the whole life. `created` is answered when the sandbox has passed its barrier, or has failed to and is gone.
    ///
    /// All of it is here, from the first record to the last, so that a caller who goes away at whatever moment leaves no
    /// record of a sandbox that is not there.
    pub async fn run(mut self, mut commands: Commands, created: oneshot::Sender<Result<()>>) {
        if let Err(error) = self.announce().await {
            let _ = created.send(Err(error));
            return;
        }
        let (end, console) = match self.create().await {
            Ok(machine) => {
                // Should the caller be gone, its guard has asked for the end already.
                let _ = created.send(Ok(()));
                let end = self.live(&machine, &mut commands.0).await;
                self.shared.open.send_replace(false);
                (end, machine.dismantle().await)
            }
            Err((end, console)) => {
                let phase = end.phase(console);
                self.publish_end(phase.clone()).await;
                let _ = created.send(Err(self.create_error(end, phase)));
                return;
            }
        };
        self.publish_end(end.phase(console)).await;
    }

    /// Serves commands until the end.
    async fn live(&mut self, machine: &Machine, commands: &mut mpsc::Receiver<Command>) -> End {
        loop {
            let command = tokio::select! {
                biased;
                end = self.end(Some(machine)) => return end,
                Some(command) = commands.recv() => command,
            };
            if let Err(end) = self.obey(command, machine).await {
                return end;
            }
        }
    }

    async fn obey(&mut self, command: Command, machine: &Machine) -> Result<(), End> {
        // An answer that nobody waits for any more is dropped.
        match command {
            Command::Pause(answer) => drop(answer.send(self.pause(machine).await?)),
            Command::Resume(answer) => drop(answer.send(self.resume(machine).await?)),
            Command::Extend(answer) => drop(answer.send(self.extend().await)),
            Command::Snapshot(request, answer) => self.snapshot(machine, request, answer).await?,
            Command::Counters(answer) => {
                drop(answer.send(self.guarded(machine, machine.figures()).await?));
            }
        }
        Ok(())
    }

    /// Writes down what the caller has set.
    async fn extend(&mut self) -> Result<()> {
        let expires_at = self.shared.expires.borrow().map(|expiry| expiry.shown);
        self.publish(|record| record.expires_at = expires_at).await;
        Ok(())
    }

    /// Waits for `step`, unless the sandbox ends first.
    pub(super) async fn guarded<T>(
        &self,
        machine: &Machine,
        step: impl Future<Output = Result<T>>,
    ) -> Result<Result<T>, End> {
        let result = tokio::select! {
            biased;
            end = self.end(Some(machine)) => return Err(end),
            result = step => result,
        };
        if result.is_err()
            && let Ok(end) = tokio::time::timeout(DEATH_NOTICE, self.end(Some(machine))).await
        {
            return Err(end);
        }
        Ok(result)
    }

    /// A step whose failure ends the sandbox.
    pub(super) async fn or_end<T>(
        &self,
        machine: &Machine,
        step: impl Future<Output = Result<T>>,
    ) -> Result<T, End> {
        self.guarded(machine, step).await?.map_err(End::Fault)
    }

    /// Waits for whatever ends the sandbox. May be dropped and called again.
    pub(super) async fn end(&self, machine: Option<&Machine>) -> End {
        let vmm_end = async {
            match machine {
                Some(machine) => machine.vmm().end().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.shared.kill.cancelled() => End::Stopped(StopReason::Killed),
            () = self.services.stopping.cancelled() => End::Stopped(StopReason::HostStopped),
            end = vmm_end => End::Vmm(end),
            () = self.expiry() => End::Stopped(StopReason::Timeout),
        }
    }

    /// Waits until the sandbox's time is over, however often that is moved.
    async fn expiry(&self) {
        let mut expires = self.shared.expires.subscribe();
        loop {
            let expiry = *expires.borrow_and_update();
            let over = async {
                match expiry {
                    Some(expiry) => tokio::time::sleep_until(expiry.at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => return,
                // The sender is in `shared`, so this is a move and not the sender's end.
                _ = expires.changed() => {}
            }
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.record.borrow().phase.clone()
    }

    /// Changes the record: on disk first, then for everybody.
    pub(super) async fn publish(&self, change: impl FnOnce(&mut Record)) {
        let mut record = Record::clone(&self.record.borrow());
        change(&mut record);
        record.revision += 1;
        if let Err(error) = self.services.database.put_sandbox(&record).await {
            // The sandbox is more important than its record, which the next start corrects.
            tracing::error!(sandbox = %record.id, error = %chain(&error), "cannot write a record");
        }
        tracing::info!(sandbox = %record.id, phase = %record.phase, "sandbox");
        let record = Arc::new(record);
        self.record.send_replace(record.clone());
        // Nobody may be watching.
        let _ = self.services.events.send(Event {
            time: SystemTime::now(),
            record,
        });
    }

    async fn publish_end(&mut self, phase: Phase) {
        // Whoever hears of the end finds the place free.
        self.place = None;
        self.publish(|record| {
            record.phase = phase;
            record.ended_at = Some(SystemTime::now());
            record.expires_at = None;
        })
        .await;
    }

    /// What the caller of Create is told. Errors about what it asked for keep their type.
    fn create_error(&self, end: End, phase: Phase) -> Error {
        let id = self.shared.id.clone();
        match (end, phase) {
            (
                End::Fault(
                    error @ (Error::SnapshotDamaged { .. }
                    | Error::SnapshotIncompatible { .. }
                    | Error::SnapshotNotFound(_)
                    | Error::ImageNotFound(_)
                    | Error::ImageUnusable { .. }
                    | Error::Memory { .. }),
                ),
                _,
            ) => error,
            (_, Phase::Failed(failure)) => Error::CreateFailed { id, failure },
            (_, phase) => Error::Ended { id, phase },
        }
    }

    /// The first record, written before anything is made, so that a crash leaves a trace of it.
    async fn announce(&self) -> Result<()> {
        let record = self.record.borrow().clone();
        self.services
            .database
            .put_sandbox(&record)
            .await
            .doing(|| "writing the sandbox's record".into())?;
        let _ = self.services.events.send(Event {
            time: record.created_at,
            record,
        });
        Ok(())
    }
}
