//! A sandbox to call, and what its driver and everybody else share of it.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::container::cpu_rate::CpuRate;
use crate::engine::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ContainerId, Owner, SandboxId};
use crate::sandbox::record::HeldNamespaces;
use crate::sandbox::{EndpointInfo, PublishedPort, SandboxPhase, SandboxSample, SandboxView};
use crate::spec::{EndpointSpec, Resources};
use crate::task::Shim;

/// What a container needs of a sandbox that is up. A value: it stays as it was when the sandbox goes down.
#[derive(Debug, Clone)]
pub(crate) struct UpSandbox {
    pub(crate) shim: Arc<dyn Shim>,
    pub(crate) held: HeldNamespaces,
    pub(crate) endpoints: Vec<EndpointInfo>,
    pub(crate) ports: Vec<PublishedPort>,
    pub(crate) hostname: String,
}

/// What a sandbox's driver is asked.
#[derive(Debug)]
pub(crate) enum Command {
    /// Bring it up, if it is not.
    Up(oneshot::Sender<Result<Arc<UpSandbox>>>),
    /// Refuse containers from now on; the answer comes when that is stored.
    BeginStop(oneshot::Sender<Result<()>>),
    /// Take it down: network and shim.
    Down(oneshot::Sender<Result<()>>),
    /// Put it into one more network; it may be down.
    Connect(Box<EndpointSpec>, oneshot::Sender<Result<()>>),
    /// Take it out of a network, by name or id.
    Disconnect(String, oneshot::Sender<Result<()>>),
    /// Its container has another name.
    Renamed(String),
    /// Take over other limits.
    Update(Box<Resources>, oneshot::Sender<Result<()>>),
    /// Remove its record and end the driver.
    Remove(oneshot::Sender<Result<()>>),
    /// A container was made in it.
    Join(ContainerId),
    /// A container of it was removed.
    Leave(ContainerId),
}

/// A sandbox in memory.
#[derive(Debug)]
pub(crate) struct SandboxCell {
    pub(crate) id: SandboxId,
    pub(crate) view: watch::Sender<Arc<SandboxView>>,
    pub(crate) mailbox: mpsc::Sender<Command>,
    /// For its statistics.
    pub(crate) cpu_rate: CpuRate,
    /// While it is up.
    pub(crate) up: RwLock<Option<Arc<UpSandbox>>>,
}

impl SandboxCell {
    pub(crate) fn up(&self) -> Option<Arc<UpSandbox>> {
        self.up.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// Asks the driver and waits for its answer. What it does goes on if the asker goes away.
    pub(crate) async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<Result<T>>) -> Command) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let gone = || Error::not_found(format!("No such sandbox: {}", self.id));
        self.mailbox.send(command(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
    /// Brings it up, if it is not; without a hop when it is.
    pub(crate) async fn ensure_up(&self) -> Result<Arc<UpSandbox>> {
        let ready = self.view.borrow().phase == SandboxPhase::Ready;
        match self.up().filter(|_| ready) {
            Some(up) => Ok(up),
            // One that is being stopped is still up: the driver refuses.
            None => self.ask(Command::Up).await,
        }
    }
}

/// A sandbox to call.
#[derive(Debug, Clone)]
pub struct SandboxHandle {
    pub(crate) core: Arc<Core>,
    pub(crate) cell: Arc<SandboxCell>,
}

impl SandboxHandle {
    /// Its id.
    pub fn id(&self) -> &SandboxId {
        &self.cell.id
    }
    /// Its newest view. From memory, never waits.
    pub fn view(&self) -> Arc<SandboxView> {
        self.cell.view.borrow().clone()
    }
    /// Stops its containers and takes its network down. Idempotent.
    ///
    /// # Errors
    /// What could not be undone; it is tried again by the next call and by the engine itself.
    pub async fn stop(&self) -> Result<()> {
        let this = self.clone();
        detached(async move { crate::sandbox::stop::stop(&this, Duration::ZERO).await }).await
    }
    /// Takes over other limits of the pod as a whole, for who reads them; its cgroup is the caller's own.
    ///
    /// # Errors
    /// `InvalidArgument` naming the field; `Conflict` when it is being removed.
    pub async fn update(&self, resources: Resources) -> Result<()> {
        let resources = Box::new(resources);
        self.cell.ask(|reply| Command::Update(resources, reply)).await
    }
    /// A sample of its use and that of its containers that run.
    ///
    /// # Errors
    /// `Conflict` when it is not up.
    pub async fn stats(&self) -> Result<SandboxSample> {
        super::stats::sample(self).await
    }
    /// Connects to a TCP port of its loopback (127.0.0.1, then ::1), as one of its processes would.
    ///
    /// # Errors
    /// `Conflict` when it is not up; `Unavailable` when nothing listens there.
    pub async fn dial(&self, port: u16) -> Result<tokio::net::TcpStream> {
        super::dial::dial(self, port).await
    }
    /// Stops it, removes its containers and itself. Idempotent for CRI: a missing sandbox is a door's affair.
    ///
    /// # Errors
    /// As `stop`; `Forbidden` when the other door owns it and `force` is not set.
    pub async fn remove(&self, caller: Owner, force: bool) -> Result<()> {
        let owner = self.view().spec.owner;
        if owner != caller && !force {
            let what = format!("sandbox {} belongs to {}: remove it there, or force it", self.cell.id, owner.as_str());
            return Err(Error::new(ErrorKind::Forbidden, what));
        }
        let this = self.clone();
        detached(async move { crate::sandbox::remove::remove(&this).await }).await
    }
}

/// Runs `work` to its end even if the caller goes away.
pub(crate) async fn detached<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    use tracing::Instrument as _;
    let task = tokio::spawn(work.in_current_span());
    task.await.map_err(|error| Error::internal("the work ended before its time").with_source(error))?
}
