//! Stop: containers first, then what the sandbox itself holds.

use std::time::Duration;

use futures_util::future::join_all;

use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::failpoint;
use crate::sandbox::SandboxPhase;
use crate::sandbox::driver::SandboxDriver;
use crate::sandbox::handle::{Command, SandboxHandle};
use crate::sandbox::state::Input;

/// Stops the containers of a sandbox and takes it down. This runs beside the drivers, so that none waits upwards.
pub(crate) async fn stop(sandbox: &SandboxHandle, grace: Duration) -> Result<()> {
    sandbox.cell.ask(Command::BeginStop).await?;
    let containers = sandbox.view().containers.clone();
    let stops = containers.into_iter().filter_map(|id| sandbox.core.containers.get(&id)).map(|cell| {
        let handle = crate::container::ContainerHandle { core: sandbox.core.clone(), cell };
        async move {
            match handle.stop(Some(grace), None).await {
                Err(error) if !matches!(error.kind(), ErrorKind::NotModified | ErrorKind::NotFound) => Err(error),
                _ => Ok(()),
            }
        }
    });
    let failed: Vec<Error> = join_all(stops).await.into_iter().filter_map(Result::err).collect();
    if let Some(first) = failed.into_iter().next() {
        return Err(first.context(format!("stop sandbox {}", sandbox.id())));
    }
    sandbox.cell.ask(Command::Down).await
}

impl SandboxDriver {
    /// From here on no container starts in it.
    pub(crate) async fn begin_stop(&mut self) -> Result<()> {
        match self.admit(Input::Stop) {
            Ok(()) => {
                // Containers that are about to start must ask the driver again.
                self.commit_observed().await;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::NotModified => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes it down, if it is not. Idempotent.
    pub(crate) async fn down(&mut self) -> Result<()> {
        match self.admit(Input::Stop) {
            Ok(()) => self.take_down().await,
            Err(error) if error.kind() == ErrorKind::NotModified => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Gives everything back: endpoints and ports, then the shim. In phase `Stopping`. A pod whose network cannot be given
    /// back now is taken down later, again and again.
    pub(crate) async fn take_down(&mut self) -> Result<()> {
        let result = self.take_apart().await;
        self.retry.after(result.is_err() && !self.record.implicit);
        result
    }

    async fn take_apart(&mut self) -> Result<()> {
        // Plugins first, while the namespace is there: the shim holds it.
        if let Err(error) = self.core.pod_network.delete(&self.record.id).await {
            self.record.error = error.to_string();
            self.commit_observed().await;
            return Err(error.context(format!("take sandbox {} down", self.record.id)));
        }
        failpoint("sandbox.cni_deleted")?;
        let network = self.core.networks.disconnect(&self.record.id);
        let up = self.cell.up();
        let pod = !self.record.implicit;
        let core = self.core.clone();
        let id = self.record.id.clone();
        let shim = async move {
            match up {
                // A shim that does not answer is ended by force.
                Some(up) => match up.shim.shutdown(pod).await {
                    Ok(()) => Ok(()),
                    Err(error) => {
                        tracing::warn!(%error, "the shim did not shut down when asked");
                        core.runtime.sweep(&id).await
                    }
                },
                None => core.runtime.sweep(&id).await,
            }
        };
        let (network, shim) = tokio::join!(network, shim);
        let disconnected = network.is_ok();
        if disconnected {
            self.network_events("disconnect").await;
        }
        if let Err(error) = network.and(shim) {
            self.record.error = error.to_string();
            self.commit_observed().await;
            return Err(error.context(format!("take sandbox {} down", self.record.id)));
        }
        self.set_up(None);
        self.admit(Input::IsDown)?;
        debug_assert_eq!(self.record.phase, SandboxPhase::NotReady, "a sandbox that was taken down is not ready");
        self.commit_observed().await;
        if !self.record.implicit {
            self.event("stop").await;
        }
        Ok(())
    }
}
