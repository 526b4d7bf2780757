//! Remove: by a caller, after a forced end, or by itself.

use crate::container::driver::ContainerDriver;
use crate::container::handle::Reply;
use crate::container::state::{ContainerState, Input};
use crate::container::{ContainerView, RemoveOptions, WaitOutcome, image_mount, root_tree};
use crate::error::{Error, ErrorKind, Result};
use crate::event::NewEvent;
use crate::failpoint::failpoint;
use crate::id::Owner;
use crate::metadata::Durability;
use crate::metadata::tables::container as table;
use crate::sandbox::handle::Command as SandboxCommand;

/// One door does not remove what the other made, unless forced.
pub(crate) fn check_owner(view: &ContainerView, caller: Owner, options: RemoveOptions) -> Result<()> {
    let owner = view.spec.owner;
    if owner == caller || options.force {
        return Ok(());
    }
    let what = format!("container {} belongs to {}: remove it there, or force it", view.id, owner.as_str());
    Err(Error::new(ErrorKind::Forbidden, what))
}

impl ContainerDriver {
    /// A caller's removal; true when it is gone. One that runs is killed first if forced, and the reply comes later.
    pub(crate) async fn remove(&mut self, options: RemoveOptions, reply: Reply) -> bool {
        match self.ask_rules(Input::Remove { force: options.force }) {
            Err(error) => {
                drop(reply.send(Err(error)));
                false
            }
            Ok(ContainerState::Stopping) => {
                self.record.state = ContainerState::Stopping;
                self.stopping.removes.push((options, reply));
                self.kill_due().await;
                false
            }
            Ok(_) => self.remove_for(vec![(options, reply)]).await,
        }
    }

    /// Removes it for those who asked; true when it is gone.
    pub(crate) async fn remove_for(&mut self, asked: Vec<(RemoveOptions, Reply)>) -> bool {
        let volumes = asked.iter().any(|(options, _)| options.volumes);
        let result = self.remove_now(volumes).await;
        let gone = result.is_ok();
        for (_, reply) in asked {
            drop(reply.send(result.clone()));
        }
        gone
    }

    /// After the end of a container that asked for it.
    pub(crate) async fn remove_automatically(&mut self) -> bool {
        match self.remove_now(true).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "a container could not be removed after its end");
                false
            }
        }
    }

    /// A container that was to remove itself and could not be started goes too.
    pub(crate) async fn remove_failed_start(&mut self) -> bool {
        let at_rest = matches!(self.record.state, ContainerState::Created | ContainerState::Exited);
        self.record.spec.auto_remove && at_rest && self.remove_automatically().await
    }

    async fn remove_now(&mut self, volumes: bool) -> Result<()> {
        self.record.state = self.ask_rules(Input::Remove { force: true })?;
        self.restart_at = None;
        // A full disk is a reason to remove: the record is deleted when there is room again.
        self.store_observed().await;
        self.publish();
        match self.remove_parts(volumes).await {
            Ok(()) => {
                self.core.containers.remove(&self.record.id);
                self.core.container_names.release(self.record.spec.owner, &self.record.name, &self.record.id);
                self.core.forget_execs(&self.record.id);
                self.drop_pending();
                self.event("destroy", &[]).await;
                self.cell.wake_removed(&self.outcome());
                Ok(())
            }
            Err(error) => {
                self.record.state = self.ask_rules(Input::RemoveFailed)?;
                self.record.error = error.to_string();
                self.store_observed().await;
                self.publish();
                let failed = WaitOutcome { exit_code: self.record.exit_code, error: error.to_string() };
                self.cell.wake_remove_failed(&failed);
                Err(error.context(format!("unable to remove container {}", self.record.id)))
            }
        }
    }

    /// Each step can be repeated: a removal that failed goes through all of them again. The record goes last.
    async fn remove_parts(&mut self, volumes: bool) -> Result<()> {
        failpoint("remove.begin")?;
        let _gate = root_tree::close_gate(&self.cell).await?;
        if self.record.owns_sandbox() {
            // Its record goes after the writable layer, which may be what fills the disk.
            self.ask_sandbox(SandboxCommand::Down).await?;
        } else if self.sandbox.mailbox.send(SandboxCommand::Leave(self.record.id.clone())).await.is_err() {
            tracing::debug!("the sandbox is gone before its container");
        }
        self.core.snapshots.remove(&self.record.snapshot_key()?).await?;
        for view in image_mount::views(&self.record)? {
            self.core.snapshots.remove(&view).await?;
        }
        self.core.usage.forget(&self.record.snapshot_key()?);
        failpoint("remove.snapshot")?;
        self.remove_volumes(volumes).await;
        let dir = self.core.container_dir(&self.record.id);
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::from(error).context(format!("remove {}", dir.display())));
            }
            _ => {}
        }
        failpoint("remove.files")?;
        if self.record.owns_sandbox() {
            self.ask_sandbox(SandboxCommand::Remove).await?;
        }
        // What goes by itself, or would be swept at the next start, need not survive a power cut as removed.
        let durability = if self.record.spec.auto_remove { Durability::Crash } else { Durability::Power };
        let id = self.record.id.clone();
        self.core.store.write(durability, move |tx| table::delete(tx, id.as_str())).await
    }

    /// Asks the own sandbox, which may be gone already.
    async fn ask_sandbox(&self, command: impl FnOnce(Reply) -> SandboxCommand) -> Result<()> {
        match self.sandbox.ask(command).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Anonymous volumes go with the container if wanted; one that another container uses stays, as with docker.
    async fn remove_volumes(&self, wanted: bool) {
        self.core.volumes.release(&self.record.id);
        if !wanted {
            return;
        }
        for mount in self.record.mounts.iter().filter(|mount| mount.anonymous) {
            match self.core.volumes.remove(&mount.name, true).await {
                Ok(()) => {
                    let event = NewEvent::volume("destroy", &mount.name, &mount.driver, &[]);
                    self.core.events.publish(event).await;
                }
                Err(error) => tracing::debug!(volume = mount.name, %error, "an anonymous volume stays"),
            }
        }
    }
}
