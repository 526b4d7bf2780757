//! The one writer of a container: takes commands, exits and deadlines one after the other; stores, publishes, then
//! replies.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::Instrument as _;

use crate::container::cpu_rate::CpuRate;
use crate::container::handle::{Command, ContainerCell, Reply};
use crate::container::health::HealthRunner;
use crate::container::record::{ContainerRecord, Live};
use crate::container::state::{self, ContainerState, Input, Refused};
use crate::container::{RemoveOptions, WaitOutcome};
use crate::engine::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{NewEvent, ObjectKind};
use crate::failpoint::failpoint;
use crate::id::{ContainerId, Owner};
use crate::metadata::Durability;
use crate::metadata::tables::container as table;
use crate::sandbox::handle::SandboxCell;
use crate::task::{ProcessExit, Shim};

/// After this long a change that could not be stored is tried again.
const STORE_PAUSE: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub(crate) struct ContainerDriver {
    pub(crate) core: Arc<Core>,
    pub(crate) cell: Arc<ContainerCell>,
    pub(crate) sandbox: Arc<SandboxCell>,
    pub(crate) record: ContainerRecord,
    pub(crate) live: Live,
    /// The end of the process that runs.
    pub(crate) exit: Option<oneshot::Receiver<ProcessExit>>,
    /// When a process that was asked to end is killed, and who waits for its end.
    pub(crate) stopping: Stopping,
    /// When the next start by policy is due, and the wait that leads to it.
    pub(crate) restart_at: Option<Instant>,
    pub(crate) backoff: Option<Duration>,
    pub(crate) health: Option<HealthRunner>,
    /// Counts starts, so that what belongs to an older run is told apart.
    pub(crate) run: u64,
    /// When a change that could not be stored is tried again.
    store_at: Option<Instant>,
    mailbox: mpsc::Receiver<Command>,
}

/// What follows the end of a process that was asked to end.
#[derive(Debug, Default)]
pub(crate) struct Stopping {
    pub(crate) kill_at: Option<Instant>,
    /// When those who wait for the end of what was killed are told that it does not come.
    pub(crate) give_up_at: Option<Instant>,
    pub(crate) stops: Vec<Reply>,
    pub(crate) restarts: Vec<Reply>,
    pub(crate) removes: Vec<(RemoveOptions, Reply)>,
}

/// What a driver starts with.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) record: ContainerRecord,
    pub(crate) sandbox: Arc<SandboxCell>,
    /// The shim of a process that recovery found.
    pub(crate) shim: Option<Arc<dyn Shim>>,
    pub(crate) exit: Option<oneshot::Receiver<ProcessExit>>,
}

/// Makes the container's place in memory and starts its driver.
pub(crate) fn spawn(core: &Arc<Core>, beginning: Beginning) -> Arc<ContainerCell> {
    let Beginning { record, sandbox, shim, exit } = beginning;
    let (sender, mailbox) = mpsc::channel(core.config.limits.mailbox_len_max);
    let mut live = Live::default();
    if shim.is_some() {
        let view = sandbox.view.borrow();
        live.endpoints = view.endpoints.clone();
        live.ports = view.ports.clone();
    }
    let cell = Arc::new(ContainerCell {
        id: record.id.clone(),
        view: watch::Sender::new(Arc::new(record.view(&live))),
        mailbox: sender,
        waiters: Mutex::default(),
        pending: Mutex::default(),
        shim: RwLock::new(shim),
        cpu_rate: CpuRate::default(),
        execs: Mutex::default(),
        rootfs_gate: Arc::default(),
    });
    core.containers.insert(record.id.clone(), Arc::clone(&cell));
    let span = tracing::info_span!(parent: None, "container", id = record.id.short());
    let driver = ContainerDriver {
        core: Arc::clone(core),
        cell: Arc::clone(&cell),
        sandbox,
        record,
        live,
        exit,
        stopping: Stopping::default(),
        restart_at: None,
        backoff: None,
        health: None,
        run: 0,
        store_at: None,
        mailbox,
    };
    tokio::spawn(driver.run().instrument(span));
    cell
}

enum Wake {
    Command(Option<Command>),
    Exit(ProcessExit),
    KillDue,
    GiveUpDue,
    RestartDue,
    StoreDue,
    Closing,
}

impl ContainerDriver {
    async fn run(mut self) {
        if self.record.state.has_process() {
            self.begin_health();
        }
        loop {
            let gone = match self.next().await {
                Wake::Command(Some(command)) => self.handle(command).await,
                Wake::Exit(exit) => self.exited(exit).await,
                Wake::KillDue => {
                    self.kill_due().await;
                    false
                }
                Wake::GiveUpDue => {
                    self.give_up_due();
                    false
                }
                Wake::RestartDue => {
                    self.restart_due().await;
                    false
                }
                Wake::StoreDue => {
                    self.store_observed().await;
                    self.publish();
                    false
                }
                Wake::Command(None) | Wake::Closing => return,
            };
            if gone {
                return;
            }
        }
    }

    async fn next(&mut self) -> Wake {
        let closing = self.core.closing.clone();
        let (kill_at, give_up_at) = (self.stopping.kill_at, self.stopping.give_up_at);
        let (restart_at, store_at) = (self.restart_at, self.store_at);
        tokio::select! {
            exit = ended(&mut self.exit) => {
                self.exit = None;
                Wake::Exit(exit)
            }
            command = self.mailbox.recv() => Wake::Command(command),
            () = due(kill_at) => Wake::KillDue,
            () = due(give_up_at) => Wake::GiveUpDue,
            () = due(restart_at) => Wake::RestartDue,
            () = due(store_at) => Wake::StoreDue,
            () = closing.cancelled() => Wake::Closing,
        }
    }

    /// Carries a command out; true when the container is gone. A reply that nobody waits for is dropped.
    async fn handle(&mut self, command: Command) -> bool {
        match command {
            Command::Start(reply) => {
                let result = self.start_by_user().await;
                let failed_and_gone = result.is_err() && self.remove_failed_start().await;
                drop(reply.send(result));
                return failed_and_gone;
            }
            Command::Stop { grace, signal, reply } => self.stop(grace, signal, reply).await,
            Command::Kill { signal, reply } => drop(reply.send(self.kill(signal).await)),
            Command::Restart { grace, signal, reply } => self.restart(grace, signal, reply).await,
            Command::Pause(reply) => drop(reply.send(self.pause().await)),
            Command::Unpause(reply) => drop(reply.send(self.unpause().await)),
            Command::Remove { options, reply } => return self.remove(options, reply).await,
            Command::Rename { name, reply } => drop(reply.send(self.rename(name).await)),
            Command::Update { resources, restart, reply } => {
                drop(reply.send(self.update(*resources, restart).await));
            }
            Command::Connect { endpoint, reply } => drop(reply.send(self.connect(*endpoint).await)),
            Command::Disconnect { network, reply } => drop(reply.send(self.disconnect(network).await)),
            Command::ExecsChanged => self.publish(),
            Command::Health { run, health, changed } => self.health_answered(run, health, changed).await,
            Command::Resume(wanted) => return self.resume(wanted).await,
        }
        false
    }

    /// Asks the rules; the state is not changed yet.
    pub(crate) fn ask_rules(&self, input: Input) -> Result<ContainerState> {
        state::apply(self.record.state, input).map_err(|refused| self.refusal(input, refused))
    }

    /// In docker's words.
    fn refusal(&self, input: Input, refused: Refused) -> Error {
        let id = &self.record.id;
        let removing = matches!(input, Input::Remove { .. });
        let cannot_remove = |why: &str| {
            Error::conflict(format!("cannot remove container \"/{}\": container is {why}", self.record.name))
        };
        match refused {
            Refused::NotModified => Error::new(ErrorKind::NotModified, format!("container {id} is so already")),
            Refused::NotRunning => Error::conflict(format!("container {id} is not running")),
            Refused::Running => cannot_remove("running: stop the container before removing or force remove"),
            Refused::Paused if removing => cannot_remove("paused and must be unpaused first"),
            Refused::Paused if input == Input::Start => {
                Error::conflict("cannot start a paused container, try unpause instead")
            }
            Refused::Paused if input == Input::Pause => Error::conflict(format!("container {id} is already paused")),
            Refused::Paused => Error::conflict(format!("container {id} is paused, unpause the container before exec")),
            Refused::NotPaused => Error::conflict(format!("container {id} is not paused")),
            Refused::Restarting if removing => {
                cannot_remove("restarting: stop the container before removing or force remove")
            }
            Refused::Restarting => {
                Error::conflict(format!("container {id} is restarting, wait until the container is running"))
            }
            Refused::Busy => Error::conflict(format!("container {id} is being started or stopped")),
            Refused::Removing if removing => {
                Error::conflict(format!("removal of container {id} is already in progress"))
            }
            Refused::Removing => Error::conflict(format!("container {id} is marked for removal and cannot be started")),
            Refused::Stale => Error::internal(format!("container {id}: an observation came too late")),
        }
    }

    /// Stores the record.
    pub(crate) async fn store(&mut self, durability: Durability) -> Result<()> {
        failpoint("container.store")?;
        let record = self.record.clone();
        self.core.store.write(durability, move |tx| table::put(tx, &record)).await?;
        self.store_at = None;
        if self.live.unstored.take().is_some() {
            tracing::info!(state = ?self.record.state, "what could not be stored is stored now");
        }
        Ok(())
    }

    /// Stores a change that has happened already, whatever the disk says: memory is right and is published. What cannot
    /// be stored is said once, shown in the view, and tried again later.
    pub(crate) async fn store_observed(&mut self) {
        let Err(error) = self.store(Durability::Crash).await else { return };
        self.store_at = Some(Instant::now() + STORE_PAUSE);
        if self.live.unstored.is_none() {
            tracing::error!(%error, state = ?self.record.state, "a change of a container could not be stored");
        }
        self.live.unstored = Some(format!("the state could not be stored: {error}"));
    }

    pub(crate) fn publish(&mut self) {
        self.live.exec_ids = self.cell.execs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.live.seq = self.core.next_change();
        self.cell.view.send_replace(Arc::new(self.record.view(&self.live)));
    }

    pub(crate) fn set_shim(&self, shim: Option<Arc<dyn Shim>>) {
        *self.cell.shim.write().unwrap_or_else(PoisonError::into_inner) = shim;
    }

    pub(crate) fn outcome(&self) -> WaitOutcome {
        WaitOutcome { exit_code: self.record.exit_code, error: String::new() }
    }

    /// A container event with docker's attributes and `more`.
    pub(crate) async fn event(&self, action: &str, more: &[(&str, String)]) {
        self.core.events.publish(container_event(&self.record, action, more)).await;
    }
}

/// docker's attributes of a container event: all labels, image, name, then what belongs to the action.
pub(crate) struct EventBase<'a> {
    pub(crate) labels: &'a BTreeMap<String, String>,
    pub(crate) image: String,
    pub(crate) name: String,
}

impl EventBase<'_> {
    pub(crate) fn event(self, id: &ContainerId, owner: Owner, action: &str, more: &[(&str, String)]) -> NewEvent {
        let mut attributes = self.labels.clone();
        attributes.insert("image".to_owned(), self.image);
        attributes.insert("name".to_owned(), self.name);
        attributes.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        NewEvent {
            kind: ObjectKind::Container,
            action: action.to_owned(),
            id: id.to_string(),
            owner: Some(owner),
            attributes,
        }
    }
}

/// An event of the container that `record` describes.
pub(crate) fn container_event(record: &ContainerRecord, action: &str, more: &[(&str, String)]) -> NewEvent {
    let (image, name) = (record.spec.image.clone(), record.name.clone());
    EventBase { labels: &record.resolved.labels, image, name }.event(&record.id, record.spec.owner, action, more)
}

async fn ended(exit: &mut Option<oneshot::Receiver<ProcessExit>>) -> ProcessExit {
    match exit {
        Some(receiver) => receiver.await.unwrap_or_else(|_| crate::task::lost_exit("its observer was cut off")),
        None => std::future::pending().await,
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
