//! Networks of a container that exists: its sandbox joins and leaves them, and the container shows what came of it.

use crate::container::driver::ContainerDriver;
use crate::container::state::ContainerState;
use crate::error::{Error, ErrorKind, Result};
use crate::sandbox::handle::Command as SandboxCommand;
use crate::spec::EndpointSpec;

impl ContainerDriver {
    /// Puts it into one more network.
    pub(crate) async fn connect(&mut self, endpoint: EndpointSpec) -> Result<()> {
        self.check_changeable()?;
        self.sandbox.ask(|reply| SandboxCommand::Connect(Box::new(endpoint), reply)).await?;
        self.show_networks();
        Ok(())
    }

    /// Takes it out of a network.
    pub(crate) async fn disconnect(&mut self, network: String) -> Result<()> {
        self.check_changeable()?;
        let left = self.sandbox.ask(|reply| SandboxCommand::Disconnect(network, reply)).await;
        // What was left half-way is shown as it is.
        self.show_networks();
        left
    }

    fn check_changeable(&self) -> Result<()> {
        let id = &self.record.id;
        if matches!(self.record.state, ContainerState::Removing | ContainerState::Dead) {
            let why = "is marked for removal and cannot be connected or disconnected to the network";
            return Err(Error::new(ErrorKind::Forbidden, format!("container {id} {why}")));
        }
        if !self.record.owns_sandbox() {
            return Err(Error::invalid(format!("container {id} is in a pod: its network is the pod's")));
        }
        Ok(())
    }

    fn show_networks(&mut self) {
        if self.record.state.has_process() {
            let view = self.sandbox.view.borrow().clone();
            self.live.endpoints.clone_from(&view.endpoints);
            self.live.ports.clone_from(&view.ports);
        }
        self.publish();
    }
}
