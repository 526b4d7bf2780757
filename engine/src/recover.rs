//! Start-up: read the records, ask the shims, feed what was observed to the drivers, remove what nobody owns.
//!
//! The engine may have been killed at any moment. What a record says was meant; what a shim says, or has left on disk,
//! is what happened. A start, a run or a removal that was cut off is taken back or gone on with; an exit is taken with
//! its own time and code.

use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd as _;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::oneshot;

use crate::container::driver::{self, Beginning, ContainerDriver};
use crate::container::handle::Command as ContainerCommand;
use crate::container::record::ContainerRecord;
use crate::container::restart_policy;
use crate::container::state::{ContainerState, Input};
use crate::engine::Core;
use crate::error::{Error, Result};
use crate::id::{ContainerId, SandboxId};
use crate::metadata::tables::{container as container_table, sandbox as sandbox_table};
use crate::sandbox::handle::{Command as SandboxCommand, SandboxCell, UpSandbox};
use crate::sandbox::record::{Live as SandboxLive, SandboxRecord};
use crate::sandbox::{self, SandboxPhase, facts};
use crate::spec::NetworkMode;
use crate::task::{ProcessExit, ProcessRef, Shim, lost_exit, recorded};

/// What is done with a container once everything is in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// It runs as its policy wants.
    Start,
    /// Its removal is gone on with.
    Remove,
}

/// Brings all objects back.
pub(crate) async fn recover(core: &Arc<Core>) -> Result<()> {
    let (sandboxes, containers) = core.store.read(|c| Ok((sandbox_table::all(c)?, container_table::all(c)?)))?;
    let sandboxes = readable(sandboxes);
    let mut members: HashMap<SandboxId, Vec<ContainerRecord>> = HashMap::new();
    for record in readable(containers) {
        members.entry(record.sandbox_id.clone()).or_default().push(record);
    }
    sweep_files(core, &sandboxes, &members).await;
    let found = join_all(sandboxes.into_iter().map(|record| {
        let containers = members.remove(&record.id).unwrap_or_default();
        find(core, record, containers)
    }))
    .await;
    for (sandbox, orphans) in members {
        tracing::error!(%sandbox, containers = orphans.len(), "containers without their sandbox are left alone");
    }
    core.pod_network.retain(found.iter().map(|f| f.record.id.clone()).collect());
    let live: HashSet<SandboxId> = found.iter().filter(|f| f.shim.is_some()).map(|f| f.record.id.clone()).collect();
    for removed in core.networks.retain(&live).await? {
        tracing::info!(removed, "an endpoint that no sandbox owns was removed");
    }
    sweep_shims(core, &live).await;
    join_all(found.iter().filter(|f| f.shim.is_some()).map(|f| serve_names(core, &f.record))).await;
    let mut wanted = Vec::new();
    for one in found {
        place(core, one, &mut wanted)?;
    }
    tokio::spawn(go_on(wanted));
    Ok(())
}

/// The resolver of a sandbox went with the daemon that had its sockets.
async fn serve_names(core: &Core, record: &SandboxRecord) {
    if !matches!(record.spec.network, NetworkMode::Networks(_)) {
        return;
    }
    let served = async {
        let netns = std::fs::File::open(&record.held.network)?;
        let forwarding = sandbox::etc_files::forwarding(&record.spec.dns);
        core.networks.serve_names(&record.id, netns.as_fd(), forwarding).await
    };
    if let Err(error) = served.await {
        tracing::error!(sandbox = %record.id, %error, "names are not resolved in a sandbox");
    }
}

/// A record that cannot be read hides no other.
fn readable<T>(records: Vec<Result<T>>) -> Vec<T> {
    let kept = records.into_iter().filter_map(|record| {
        record.inspect_err(|error| tracing::error!(%error, "a record cannot be read and is left alone")).ok()
    });
    kept.collect()
}

/// A sandbox as it was found.
struct Found {
    record: SandboxRecord,
    containers: Vec<(ContainerRecord, Observed)>,
    shim: Option<Arc<dyn Shim>>,
}

/// What was seen of a container's process.
enum Observed {
    /// It has none.
    Nothing,
    /// The shim has it; its end, past or to come, is told by the shim.
    AtShim,
    /// It has ended like this.
    Ended(ProcessExit),
}

async fn find(core: &Arc<Core>, mut record: SandboxRecord, containers: Vec<ContainerRecord>) -> Found {
    let may_be_up = matches!(record.phase, SandboxPhase::Ready | SandboxPhase::Stopping);
    let mut shim = if may_be_up { reconnect(core, &record).await } else { None };
    let mut seen = Vec::with_capacity(containers.len());
    for mut container in containers {
        let observed = observe(core, shim.as_deref(), &mut container).await;
        seen.push((container, observed));
    }
    // A docker container's own sandbox without a process in it has no use for a shim.
    let any_process = seen.iter().any(|(_, o)| matches!(o, Observed::AtShim));
    if record.implicit && !any_process {
        shim = None;
    }
    if record.phase == SandboxPhase::Creating || (record.phase == SandboxPhase::Ready && shim.is_none()) {
        // It was cut off while it came up, or lost its shim: what is left of it is taken down.
        if record.phase == SandboxPhase::Ready && !record.implicit {
            record.error = "the shim of the sandbox is gone".to_owned();
        }
        record.phase = SandboxPhase::Stopping;
    }
    Found { record, containers: seen, shim }
}

async fn reconnect(core: &Core, record: &SandboxRecord) -> Option<Arc<dyn Shim>> {
    match core.runtime.reconnect(&record.id, record.shim_pid).await {
        Ok(shim) => shim,
        Err(error) => {
            tracing::warn!(sandbox = %record.id, %error, "the shim of a sandbox cannot be reached");
            None
        }
    }
}

async fn observe(core: &Core, shim: Option<&dyn Shim>, container: &mut ContainerRecord) -> Observed {
    let process = ProcessRef::first(&container.id);
    match container.state {
        ContainerState::Starting => {
            // Nobody was told that it runs: the start is taken back with its sandbox, or here in a pod's.
            if let Some(shim) = shim.filter(|_| !container.owns_sandbox())
                && let Err(error) = crate::container::start::end_task(shim, &process).await
            {
                tracing::warn!(container = %container.id, %error, "a start that was cut off is not taken back");
            }
            container.state = if container.started_ns == 0 { ContainerState::Created } else { ContainerState::Exited };
            container.error = "the engine ended while the container was started".to_owned();
            Observed::Nothing
        }
        state if state.has_process() => {
            let known = match shim {
                Some(shim) => shim.has_ended(&process).await,
                None => Ok(None),
            };
            match known {
                Ok(Some(_)) => Observed::AtShim,
                // A shim that does not answer now may do so later: its container is not given up.
                Err(error) if shim.is_some() => {
                    tracing::warn!(container = %container.id, %error, "a shim does not say what its container does");
                    Observed::AtShim
                }
                Ok(None) | Err(_) => {
                    let exit = recorded(core.runtime.as_ref(), &container.sandbox_id, &process);
                    Observed::Ended(exit.unwrap_or_else(|| lost_exit("its shim is gone and left no record")))
                }
            }
        }
        _ => Observed::Nothing,
    }
}

/// What is to be done when all objects are in their places.
enum Next {
    Container(Arc<crate::container::handle::ContainerCell>, Wanted),
    Down(Arc<SandboxCell>),
    RemovePod(crate::sandbox::handle::SandboxHandle),
    /// A sandbox whose build was cut off.
    RemoveOrphan(Arc<SandboxCell>),
}

/// Puts a sandbox and its containers in their places.
fn place(core: &Arc<Core>, found: Found, next: &mut Vec<Next>) -> Result<()> {
    let Found { mut record, containers, shim } = found;
    let (implicit, phase) = (record.implicit, record.phase);
    if !implicit {
        core.sandbox_names.reserve(record.owner(), &record.spec.name, &record.id)?.keep();
    }
    if phase == SandboxPhase::Removing {
        record.phase = SandboxPhase::NotReady;
    }
    let attachment = core.pod_network.attachment(&record.id);
    let attachment = attachment.unwrap_or_else(|| core.networks.attachment(&record.id));
    let up = shim.clone().map(|shim| UpSandbox {
        shim,
        held: record.held.clone(),
        endpoints: facts::endpoints(&attachment),
        ports: facts::ports(&attachment),
        hostname: facts::hostname(&record),
    });
    let live = SandboxLive {
        endpoints: facts::endpoints(&attachment),
        ports: facts::ports(&attachment),
        containers: containers.iter().map(|(c, _)| c.id.clone()).collect(),
    };
    let never_up = !implicit && phase == SandboxPhase::Stopping && record.shim_pid == 0 && record.error.is_empty();
    let cell = sandbox::driver::spawn(core, record, live, up);
    if implicit && containers.is_empty() {
        next.push(Next::RemoveOrphan(cell));
        return Ok(());
    }
    let busy = containers.iter().any(|(_, observed)| !matches!(observed, Observed::Nothing));
    for (container, observed) in containers {
        place_container(core, &cell, container, observed, shim.clone(), next)?;
    }
    let handle = || sandbox::SandboxHandle { core: Arc::clone(core), cell: Arc::clone(&cell) };
    match phase {
        // The container's driver takes its own sandbox down when it has taken the exit.
        SandboxPhase::Stopping if !(implicit && busy) => {
            next.push(if never_up { Next::RemovePod(handle()) } else { Next::Down(Arc::clone(&cell)) });
        }
        SandboxPhase::Removing if !implicit => next.push(Next::RemovePod(handle())),
        _ => {}
    }
    Ok(())
}

fn place_container(
    core: &Arc<Core>,
    sandbox: &Arc<SandboxCell>,
    mut record: ContainerRecord,
    observed: Observed,
    shim: Option<Arc<dyn Shim>>,
    next: &mut Vec<Next>,
) -> Result<()> {
    core.container_names.reserve(record.spec.owner, &record.name, &record.id)?.keep();
    for mount in record.mounts.iter().filter(|mount| !mount.name.is_empty()) {
        core.volumes.hold(&mount.name, &record.id);
    }
    let wanted = wanted(&mut record);
    let process = ProcessRef::first(&record.id);
    let (shim, exit) = match observed {
        Observed::Nothing => (None, None),
        Observed::AtShim => {
            let exit = shim.as_ref().map(|shim| watch_end(core, shim, &record.sandbox_id, process));
            (shim, exit)
        }
        Observed::Ended(exit) => {
            let (sender, receiver) = oneshot::channel();
            // The receiver is at hand: it takes it.
            drop(sender.send(exit));
            (None, Some(receiver))
        }
    };
    let cell = driver::spawn(core, Beginning { record, sandbox: Arc::clone(sandbox), shim, exit });
    next.extend(wanted.map(|wanted| Next::Container(cell, wanted)));
    Ok(())
}

/// What a container at rest wants of a new engine.
fn wanted(record: &mut ContainerRecord) -> Option<Wanted> {
    match record.state {
        ContainerState::Removing => {
            record.state = ContainerState::Dead;
            Some(Wanted::Remove)
        }
        ContainerState::Exited if record.spec.auto_remove => Some(Wanted::Remove),
        ContainerState::Restarting => {
            record.state = ContainerState::Exited;
            Some(Wanted::Start)
        }
        ContainerState::Exited => {
            let (policy, by_user) = (record.spec.restart, record.stopped_by_user);
            restart_policy::start_with_engine(policy, false, by_user, record.exit_code).then_some(Wanted::Start)
        }
        _ => None,
    }
}

fn watch_end(
    core: &Core,
    shim: &Arc<dyn Shim>,
    sandbox: &SandboxId,
    process: ProcessRef,
) -> oneshot::Receiver<ProcessExit> {
    let (sender, receiver) = oneshot::channel();
    let (runtime, shim, sandbox) = (core.runtime.clone(), Arc::clone(shim), sandbox.clone());
    tokio::spawn(async move {
        drop(sender.send(crate::task::observe(runtime, shim, sandbox, process).await));
    });
    receiver
}

async fn go_on(wanted: Vec<Next>) {
    for next in wanted {
        let result = match next {
            Next::Container(cell, wanted) => cell
                .mailbox
                .send(ContainerCommand::Resume(wanted))
                .await
                .map_err(|_| Error::internal("its driver has ended")),
            Next::Down(cell) => cell.ask(SandboxCommand::Down).await,
            Next::RemovePod(handle) => sandbox::remove::remove(&handle).await,
            Next::RemoveOrphan(cell) => {
                crate::build::remove_sandbox(&cell).await;
                Ok(())
            }
        };
        if let Err(error) = result {
            tracing::error!(%error, "what was cut off could not be gone on with");
        }
    }
}

impl ContainerDriver {
    /// Goes on with what was meant before the engine ended. True when the container is gone.
    pub(crate) async fn resume(&mut self, wanted: Wanted) -> bool {
        match wanted {
            Wanted::Remove => self.remove_automatically().await,
            Wanted::Start => {
                if let Err(error) = self.start(Input::Start).await {
                    tracing::warn!(%error, "a container that runs with the engine could not be started");
                    let code = self.record.exit_code;
                    self.plan_restart_after_failure(code).await;
                }
                false
            }
        }
    }
}

/// Ends shims that no sandbox has, and removes their bundles.
async fn sweep_shims(core: &Core, live: &HashSet<SandboxId>) {
    let traces = core.runtime.traces().unwrap_or_else(|error| {
        tracing::error!(%error, "the bundles of shims cannot be listed");
        Vec::new()
    });
    let sweeps = traces.into_iter().filter(|id| !live.contains(id)).map(|id| async move {
        if let Err(error) = core.runtime.sweep(&id).await {
            tracing::error!(sandbox = %id, %error, "what a shim left could not be removed");
        }
    });
    join_all(sweeps).await;
}

/// Removes writable layers and directories that no record names: objects that were cut off before they were stored,
/// or after their record was removed.
async fn sweep_files(core: &Core, sandboxes: &[SandboxRecord], members: &HashMap<SandboxId, Vec<ContainerRecord>>) {
    let containers: HashSet<&ContainerId> = members.values().flatten().map(|record| &record.id).collect();
    for snapshot in core.snapshots.list() {
        let key = &snapshot.key;
        let container = crate::container::image_mount::container_of_view(key).unwrap_or(key.as_str());
        // Other keys belong to others: builds.
        let Ok(id) = container.parse::<ContainerId>() else { continue };
        if !containers.contains(&id) {
            match core.snapshots.remove(&snapshot.key).await {
                Ok(()) => tracing::info!(container = %id, "a writable layer that no container owns was removed"),
                Err(error) => tracing::error!(container = %id, %error, "a writable layer could not be removed"),
            }
        }
    }
    let kept: HashSet<&str> =
        sandboxes.iter().map(|record| record.id.as_str()).chain(containers.iter().map(|id| id.as_str())).collect();
    for parent in [core.config.root.join("containers"), core.config.root.join("sandboxes")] {
        for entry in std::fs::read_dir(&parent).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let unowned = name.to_str().is_some_and(|n| n.parse::<ContainerId>().is_ok() && !kept.contains(n));
            if unowned && let Err(error) = std::fs::remove_dir_all(entry.path()) {
                tracing::error!(path = %entry.path().display(), %error, "an unowned directory could not be removed");
            }
        }
    }
}
