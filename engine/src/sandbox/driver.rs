//! The one writer of a sandbox: takes commands one after the other; stores, publishes, then replies.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::container::cpu_rate::CpuRate;
use crate::engine::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::metadata::Durability;
use crate::metadata::tables::sandbox as table;
use crate::sandbox::SandboxPhase;
use crate::sandbox::handle::{Command, SandboxCell, UpSandbox};
use crate::sandbox::record::{HeldNamespaces, Live, SandboxRecord};
use crate::sandbox::state::{self, Input, Refused};

/// See the module.
#[derive(Debug)]
pub(crate) struct SandboxDriver {
    pub(crate) core: Arc<Core>,
    pub(crate) cell: Arc<SandboxCell>,
    pub(crate) record: SandboxRecord,
    pub(crate) live: Live,
    /// When a pod that could not be taken down is tried again.
    pub(crate) retry: Retry,
    mailbox: mpsc::Receiver<Command>,
}

/// Pauses between tries of what failed: doubled from the first to the longest.
#[derive(Debug, Default)]
pub(crate) struct Retry {
    at: Option<Instant>,
    pause: Duration,
}

impl Retry {
    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(60);

    /// Plans the next try if this one failed, else none.
    pub(crate) fn after(&mut self, failed: bool) {
        if failed {
            self.pause = (self.pause * 2).clamp(Self::FIRST, Self::LONGEST);
            self.at = Some(Instant::now() + self.pause);
        } else {
            *self = Self::default();
        }
    }

    async fn due(&self) {
        match self.at {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

/// Makes the sandbox's place in memory and starts its driver. `up` is what recovery found to be up.
pub(crate) fn spawn(core: &Arc<Core>, record: SandboxRecord, live: Live, up: Option<UpSandbox>) -> Arc<SandboxCell> {
    let (sender, mailbox) = mpsc::channel(core.config.limits.mailbox_len_max);
    let cell = Arc::new(SandboxCell {
        id: record.id.clone(),
        view: watch::Sender::new(Arc::new(record.view(&live))),
        mailbox: sender,
        cpu_rate: CpuRate::default(),
        up: std::sync::RwLock::new(up.map(Arc::new)),
    });
    core.sandboxes.insert(record.id.clone(), Arc::clone(&cell));
    let span = tracing::info_span!(parent: None, "sandbox", id = record.id.short());
    let driver = SandboxDriver {
        core: Arc::clone(core),
        cell: Arc::clone(&cell),
        record,
        live,
        retry: Retry::default(),
        mailbox,
    };
    tokio::spawn(driver.run().instrument(span));
    cell
}

impl SandboxDriver {
    async fn run(mut self) {
        let closing = self.core.closing.clone();
        loop {
            let up = self.cell.up().filter(|_| !self.record.implicit);
            let command = tokio::select! {
                command = self.mailbox.recv() => command,
                () = lost(up) => {
                    self.lost().await;
                    continue;
                }
                () = self.retry.due() => {
                    self.take_down_again().await;
                    continue;
                }
                () = closing.cancelled() => return,
            };
            let Some(command) = command else { return };
            if self.handle(command).await {
                return;
            }
        }
    }

    /// Carries a command out; true when the sandbox is gone. A reply that nobody waits for is dropped.
    async fn handle(&mut self, command: Command) -> bool {
        match command {
            Command::Up(reply) => drop(reply.send(self.up().await)),
            Command::BeginStop(reply) => drop(reply.send(self.begin_stop().await)),
            Command::Down(reply) => drop(reply.send(self.down().await)),
            Command::Connect(endpoint, reply) => drop(reply.send(self.connect_network(*endpoint).await)),
            Command::Disconnect(network, reply) => drop(reply.send(self.disconnect_network(&network).await)),
            Command::Renamed(name) => self.renamed(&name).await,
            Command::Remove(reply) => {
                let result = self.remove().await;
                let gone = result.is_ok();
                drop(reply.send(result));
                return gone;
            }
            Command::Update(resources, reply) => drop(reply.send(self.update(*resources).await)),
            Command::Join(container) => {
                if !self.live.containers.contains(&container) {
                    self.live.containers.push(container);
                }
                self.publish();
            }
            Command::Leave(container) => {
                self.live.containers.retain(|c| *c != container);
                self.publish();
            }
        }
        false
    }

    /// Takes the rules' answer over, or says in words why not.
    pub(crate) fn admit(&mut self, input: Input) -> Result<()> {
        self.record.phase = state::apply(self.record.phase, input).map_err(|refused| self.refusal(refused))?;
        Ok(())
    }

    fn refusal(&self, refused: Refused) -> Error {
        let id = &self.record.id;
        match refused {
            Refused::AlreadySo => Error::new(ErrorKind::NotModified, format!("sandbox {id} is so already")),
            Refused::IsUp => Error::conflict(format!("sandbox {id} is up: stop it first")),
            Refused::Ending => Error::conflict(format!("sandbox {id} is being stopped or removed")),
            Refused::Stale => Error::internal(format!("sandbox {id}: an observation came too late")),
        }
    }

    /// Stores the record, then publishes it.
    pub(crate) async fn commit(&mut self, durability: Durability) -> Result<()> {
        let record = self.record.clone();
        self.core.store.write(durability, move |tx| table::put(tx, &record)).await?;
        self.publish();
        Ok(())
    }

    /// As `commit`, of a change that has happened already and must go on whatever the disk says. An older record that is
    /// found at the next start shows a sandbox that is up without a shim, which is then taken down.
    pub(crate) async fn commit_observed(&self) {
        let record = self.record.clone();
        if let Err(error) = self.core.store.write(Durability::Crash, move |tx| table::put(tx, &record)).await {
            tracing::error!(%error, phase = ?self.record.phase, "a change of a sandbox could not be stored");
        }
        self.publish();
    }

    pub(crate) fn publish(&self) {
        self.cell.view.send_replace(Arc::new(self.record.view(&self.live)));
    }

    pub(crate) fn set_up(&mut self, up: Option<UpSandbox>) {
        match &up {
            Some(up) => {
                self.record.shim_pid = up.shim.pid();
                self.record.held = up.held.clone();
                self.live.endpoints = up.endpoints.clone();
                self.live.ports = up.ports.clone();
            }
            None => {
                self.record.shim_pid = 0;
                self.record.held = HeldNamespaces::default();
                self.live.endpoints.clear();
                self.live.ports.clear();
            }
        }
        *self.cell.up.write().unwrap_or_else(PoisonError::into_inner) = up.map(Arc::new);
    }

    async fn take_down_again(&mut self) {
        if self.record.phase != SandboxPhase::Stopping {
            self.retry.after(false);
            return;
        }
        match self.take_down().await {
            Ok(()) => tracing::info!("the sandbox is down at last"),
            Err(error) => tracing::warn!(%error, "the sandbox cannot be taken down yet"),
        }
    }

    /// The shim of a pod went away by itself: what is left is taken down.
    async fn lost(&mut self) {
        tracing::warn!("the shim of the sandbox is gone");
        if self.admit(Input::Lost).is_err() {
            self.set_up(None);
            return;
        }
        self.record.error = "the shim of the sandbox is gone".to_owned();
        if let Err(error) = self.take_down().await {
            tracing::error!(%error, "what the sandbox left could not be taken down");
        }
    }
}

async fn lost(up: Option<Arc<UpSandbox>>) {
    match up {
        Some(up) => up.shim.closed().await,
        None => std::future::pending().await,
    }
}
