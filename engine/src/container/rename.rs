//! Rename: the name is taken in memory, stored, and the old one freed.

use crate::container::driver::ContainerDriver;
use crate::error::{Error, Result};
use crate::metadata::Durability;
use crate::sandbox::handle::Command as SandboxCommand;
use crate::spec::validate;

impl ContainerDriver {
    /// Gives it another name.
    pub(crate) async fn rename(&mut self, name: String) -> Result<()> {
        let name = name.strip_prefix('/').unwrap_or(&name).to_owned();
        if name.is_empty() {
            return Err(Error::invalid("Neither old nor new names may be empty"));
        }
        validate::name(&name)?;
        let old = self.record.name.clone();
        if name == old {
            return Err(Error::invalid("Renaming a container with the same name as its current name"));
        }
        let (owner, id) = (self.record.spec.owner, self.record.id.clone());
        self.core.container_names.rename(owner, &old, &name, &id)?;
        self.record.name = name.clone();
        if let Err(error) = self.store(Durability::Power).await {
            self.record.name.clone_from(&old);
            // The old name was free only within this function, but somebody may have been as quick.
            if let Err(taken) = self.core.container_names.rename(owner, &name, &old, &id) {
                tracing::error!(%taken, "the old name of a container could not be taken back");
            }
            return Err(error);
        }
        self.publish();
        if self.record.owns_sandbox() && self.sandbox.mailbox.send(SandboxCommand::Renamed(name)).await.is_err() {
            tracing::debug!("the sandbox is gone before its container");
        }
        self.event("rename", &[("oldName", format!("/{old}"))]).await;
        Ok(())
    }
}
