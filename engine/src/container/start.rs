//! Start: the sandbox up, the process made and held, those who attached early connected, then let go.

use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError};

use tokio::sync::oneshot;
use tracing::Instrument as _;

use crate::container::driver::ContainerDriver;
use crate::container::state::{ContainerState, Input};
use crate::container::{process, root_tree, signal};
use crate::error::{ErrorKind, Result};
use crate::event::{NewEvent, now_ns};
use crate::failpoint::failpoint;
use crate::metadata::Durability;
use crate::rollback::Rollback;
use crate::sandbox::handle::UpSandbox;
use crate::spec::MountSource;
use crate::task::{ProcessExit, ProcessRef, Shim};

/// The exit code that stands for a start that failed for another reason than its program.
const CODE_START_FAILED: i32 = 128;
/// How long the end of a process that is taken back is waited for after SIGKILL.
const END_WAIT: std::time::Duration = std::time::Duration::from_secs(5);

impl ContainerDriver {
    /// A user's start: policies begin anew.
    pub(crate) async fn start_by_user(&mut self) -> Result<()> {
        self.ask_rules(Input::Start)?;
        self.record.stopped_by_user = false;
        self.backoff = None;
        if self.record.state != ContainerState::Restarting {
            self.record.restart_count = 0;
        }
        self.start(Input::Start).await
    }

    /// Starts it; `input` is [`Input::Start`] or [`Input::BackoffOver`].
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn start(&mut self, input: Input) -> Result<()> {
        let ran_before = self.record.started_ns != 0;
        self.record.state = self.ask_rules(input)?;
        self.restart_at = None;
        self.record.error.clear();
        let mut rollback = Rollback::default();
        let begun = self.store(Durability::Crash).await;
        self.publish();
        // Until the process runs and that is published: who writes into the file system meanwhile would mount it twice.
        let gate = root_tree::close_gate(&self.cell).await;
        let brought = match begun.and(gate.as_ref().map(|_| ()).map_err(Clone::clone)) {
            Ok(()) => self.bring_up(&mut rollback).await,
            Err(error) => Err(error),
        };
        match brought {
            Ok((up, pid)) => {
                rollback.keep();
                self.started(&up, pid).await;
                Ok(())
            }
            Err(error) => {
                let failed = rollback.run().await;
                self.record.state = self.ask_rules(Input::StartFailed { ran_before })?;
                self.record.exit_code = error.exit_code().unwrap_or(CODE_START_FAILED);
                self.record.error = error.to_string();
                if ran_before {
                    self.record.finished_ns = now_ns();
                }
                if !failed.is_empty() {
                    self.record.error = format!("{error}; not taken back: {}", failed.join("; "));
                }
                self.exit = None;
                self.set_shim(None);
                self.drop_pending();
                self.store_observed().await;
                self.publish();
                self.cell.wake_at_rest(&self.outcome());
                Err(error)
            }
        }
    }

    /// The steps; each pushes its undo.
    async fn bring_up(&mut self, rollback: &mut Rollback) -> Result<(Arc<UpSandbox>, u32)> {
        failpoint("start.begin")?;
        let up = self.sandbox.ensure_up().await?;
        if self.record.owns_sandbox() {
            let sandbox = Arc::clone(&self.sandbox);
            rollback.push("take the sandbox down", move || async move {
                sandbox.ask(crate::sandbox::handle::Command::Down).await
            });
        }
        let sandbox = self.sandbox.view.borrow().clone();
        let _pinned = self.pin_subpaths().await?;
        let log = crate::logs::sink(&self.record).await?;
        let (task, user) = process::new_task(&self.core, &self.record, sandbox, &up, log)?;
        self.record.runs_as = Some(user);
        failpoint("start.before_create")?;
        let process = ProcessRef::first(&self.record.id);
        {
            let (shim, process) = (Arc::clone(&up.shim), process.clone());
            rollback.push("delete the task", move || async move { end_task(shim.as_ref(), &process).await });
        }
        let pid = up.shim.create(task).instrument(tracing::debug_span!("task_create")).await?;
        failpoint("start.created")?;
        self.connect_pending(up.shim.as_ref(), &process).await?;
        self.exit = Some(observe(self, &up.shim, process.clone()));
        up.shim.start(&process).instrument(tracing::debug_span!("task_start")).await?;
        failpoint("start.started")?;
        Ok((up, pid))
    }

    /// Finds the directories inside of volumes anew and holds them until the container has started: what another
    /// container makes of the path meanwhile does not change what is mounted.
    async fn pin_subpaths(&mut self) -> Result<Vec<Arc<OwnedFd>>> {
        let mut pinned = Vec::new();
        let asked = self.record.spec.mounts.iter().zip(&self.record.mounts).zip(&mut self.record.runtime_mounts);
        for ((asked, shown), mount) in asked {
            let MountSource::Volume { subpath, .. } = &asked.source else { continue };
            let placed = self.core.volumes.mount(&shown.name, Some(subpath)).await?;
            if let Some(pin) = placed.pin {
                mount.source = placed.source;
                pinned.push(pin);
            }
        }
        Ok(pinned)
    }

    /// It runs: store, publish, tell.
    async fn started(&mut self, up: &UpSandbox, pid: u32) {
        self.run += 1;
        self.record.pid = pid;
        self.record.started_ns = now_ns();
        self.record.exit_code = 0;
        self.record.oom_killed = false;
        self.record.state = ContainerState::Running;
        self.live.endpoints = up.endpoints.clone();
        self.live.ports = up.ports.clone();
        self.set_shim(Some(Arc::clone(&up.shim)));
        self.begin_health();
        self.store_observed().await;
        self.publish();
        self.volume_events("mount").await;
        self.event("start", &[]).await;
    }

    /// docker's volume events, one for each volume of this container.
    pub(crate) async fn volume_events(&self, action: &str) {
        for mount in self.record.mounts.iter().filter(|mount| mount.kind == "volume") {
            let mut more = vec![("container", self.record.id.to_string())];
            if action == "mount" {
                more.push(("destination", mount.destination.clone()));
                more.push(("read/write", mount.rw.to_string()));
                more.push(("propagation", mount.propagation.clone()));
            }
            self.core.events.publish(NewEvent::volume(action, &mount.name, &mount.driver, &more)).await;
        }
    }

    /// Those who attached before there was a process.
    async fn connect_pending(&self, shim: &dyn Shim, process: &ProcessRef) -> Result<()> {
        let waiting = std::mem::take(&mut *self.cell.pending.lock().unwrap_or_else(PoisonError::into_inner));
        for pending in waiting {
            if !pending.ends.output.is_closed() {
                shim.attach(process, pending.wish, pending.ends).await?;
            }
        }
        Ok(())
    }

    /// Those who attached to a start that failed see the end of the stream.
    pub(crate) fn drop_pending(&self) {
        self.cell.pending.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The back-off is over.
    pub(crate) async fn restart_due(&mut self) {
        self.restart_at = None;
        self.record.restart_count += 1;
        if let Err(error) = self.start(Input::BackoffOver).await {
            tracing::warn!(%error, "a restart by policy failed");
            let code = self.record.exit_code;
            self.plan_restart_after_failure(code).await;
        }
    }
}

/// Ends and forgets a process that may or may not run yet.
pub(crate) async fn end_task(shim: &dyn Shim, process: &ProcessRef) -> Result<()> {
    match shim.kill(process, signal::KILL, true).await {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Err(_) => {}
        Ok(()) => drop(tokio::time::timeout(END_WAIT, shim.wait(process)).await),
    }
    shim.delete(process).await
}

/// Begins to wait for the end of a process, apart from the driver, so that nothing cuts the wait off.
pub(crate) fn observe(
    driver: &ContainerDriver,
    shim: &Arc<dyn Shim>,
    process: ProcessRef,
) -> oneshot::Receiver<ProcessExit> {
    let (sender, receiver) = oneshot::channel();
    let (runtime, shim, sandbox) = (driver.core.runtime.clone(), Arc::clone(shim), driver.record.sandbox_id.clone());
    tokio::spawn(async move {
        drop(sender.send(crate::task::observe(runtime, shim, sandbox, process).await));
    });
    receiver
}
