//! Update: limits of the pod as a whole. They are the caller's to set on the pod's cgroup; here they are checked and
//! kept for who asks.

use std::sync::Arc;

use crate::error::Result;
use crate::metadata::Durability;
use crate::sandbox::SandboxPhase;
use crate::sandbox::driver::SandboxDriver;
use crate::spec::{Resources, validate};

impl SandboxDriver {
    pub(crate) async fn update(&mut self, resources: Resources) -> Result<()> {
        validate::resources(&resources, self.record.owner())?;
        if self.record.phase == SandboxPhase::Removing {
            return Err(crate::Error::conflict(format!("sandbox {} is being removed", self.record.id)));
        }
        let old = Arc::clone(&self.record.spec);
        Arc::make_mut(&mut self.record.spec).resources = resources;
        if let Err(error) = self.commit(Durability::Power).await {
            self.record.spec = old;
            return Err(error);
        }
        Ok(())
    }
}
