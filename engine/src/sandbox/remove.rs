//! Remove: stop it, remove its containers, then its files, its record and its name.

use crate::container::RemoveOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::metadata::Durability;
use crate::metadata::tables::sandbox as table;
use crate::sandbox::driver::SandboxDriver;
use crate::sandbox::handle::{Command, SandboxHandle};
use crate::sandbox::state::Input;

/// Stops and removes a sandbox with its containers. Runs beside the drivers, so that none waits upwards.
pub(crate) async fn remove(sandbox: &SandboxHandle) -> Result<()> {
    super::stop::stop(sandbox, std::time::Duration::ZERO).await?;
    let view = sandbox.view();
    for id in &view.containers {
        let Some(cell) = sandbox.core.containers.get(id) else { continue };
        let handle = crate::container::ContainerHandle { core: sandbox.core.clone(), cell };
        match handle.remove(view.spec.owner, RemoveOptions { force: true, volumes: true }).await {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    sandbox.cell.ask(Command::Remove).await
}

impl SandboxDriver {
    /// Removes what is stored of it. The driver ends when this succeeds.
    pub(crate) async fn remove(&mut self) -> Result<()> {
        if self.record.phase == crate::sandbox::SandboxPhase::Stopping {
            self.take_down().await?;
        }
        self.admit(Input::Remove)?;
        if let Err(error) = self.remove_parts().await {
            self.admit(Input::RemoveFailed)?;
            self.record.error = error.to_string();
            self.commit_observed().await;
            return Err(error);
        }
        self.core.sandboxes.remove(&self.record.id);
        self.core.sandbox_names.release(self.record.owner(), &self.record.spec.name, &self.record.id);
        if !self.record.implicit {
            self.event("destroy").await;
        }
        Ok(())
    }

    async fn remove_parts(&self) -> Result<()> {
        let dir = self.core.sandbox_dir(&self.record.id);
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::from(error).context(format!("remove {}", dir.display())));
            }
            _ => {}
        }
        let id = self.record.id.clone();
        self.core.store.write(Durability::Crash, move |tx| table::delete(tx, id.as_str())).await
    }
}
