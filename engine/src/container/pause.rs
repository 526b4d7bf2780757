//! Pause and unpause: the shim first, then the record.

use crate::container::driver::ContainerDriver;
use crate::container::state::Input;
use crate::error::Result;

impl ContainerDriver {
    /// Freezes it.
    pub(crate) async fn pause(&mut self) -> Result<()> {
        let next = self.ask_rules(Input::Pause)?;
        self.cell.shim()?.pause(&self.record.id).await?;
        self.record.state = next;
        self.store_observed().await;
        self.publish();
        self.event("pause", &[]).await;
        Ok(())
    }

    /// Thaws it.
    pub(crate) async fn unpause(&mut self) -> Result<()> {
        let next = self.ask_rules(Input::Unpause)?;
        self.cell.shim()?.resume(&self.record.id).await?;
        self.record.state = next;
        self.store_observed().await;
        self.publish();
        self.event("unpause", &[]).await;
        Ok(())
    }
}
