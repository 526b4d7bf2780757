//! Networks joined and left after the sandbox was made, down or up. What is wanted is stored in the sandbox's record:
//! it survives restarts of the container and of the engine.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::failpoint;
use crate::metadata::Durability;
use crate::network::NetworkView;
use crate::sandbox::driver::SandboxDriver;
use crate::sandbox::handle::UpSandbox;
use crate::sandbox::{SandboxPhase, etc_files, facts};
use crate::spec::{EndpointSpec, NetworkMode};

const SHARED: &str =
    "container sharing network namespace with another container or host cannot be connected to any other network";
const PRIVATE: &str =
    "container cannot be connected to multiple networks with one of the networks in private (none) mode";
const HOST: &str = "container cannot be disconnected from host network or connected to host network";

impl SandboxDriver {
    /// Puts it into one more network.
    pub(crate) async fn connect_network(&mut self, mut endpoint: EndpointSpec) -> Result<()> {
        let network = self.core.networks.get(&endpoint.network)?;
        let mut wanted = self.changeable(&network)?;
        if network.driver == "null" {
            return Err(Error::invalid(PRIVATE));
        }
        if self.position(&wanted, &network).is_some() {
            let name = self.container_name().unwrap_or_else(|| self.record.id.short().to_owned());
            let message = format!("endpoint with name {name} already exists in network {}", network.name);
            return Err(Error::new(ErrorKind::Forbidden, message));
        }
        endpoint.network.clone_from(&network.name);
        wanted.push(endpoint.clone());
        match self.running()? {
            None => self.store_wanted(wanted).await,
            Some(up) => self.connect_running(&up, endpoint, wanted).await,
        }
    }

    async fn connect_running(
        &mut self,
        up: &UpSandbox,
        endpoint: EndpointSpec,
        wanted: Vec<EndpointSpec>,
    ) -> Result<()> {
        let netns = netns_of(up)?;
        let asked = facts::wanted_endpoint(&endpoint, &self.record, self.container_name().as_deref());
        let ports = facts::port_mappings(&self.record.spec.ports);
        let (networks, id) = (self.core.networks.clone(), self.record.id.clone());
        networks.connect(&id, netns.as_fd(), &[asked], &ports).await?;
        let connected = async {
            networks.serve_names(&id, netns.as_fd(), etc_files::forwarding(&self.record.spec.dns)).await?;
            failpoint("sandbox.connect_stored")?;
            self.store_wanted(wanted).await
        };
        if let Err(error) = connected.await {
            if let Err(undo) = networks.disconnect_from(&id, netns.as_fd(), &endpoint.network).await {
                tracing::error!(%undo, network = endpoint.network, "a connection that failed could not be taken back");
            }
            return Err(error);
        }
        self.show_endpoints(up);
        let network = networks.get(&endpoint.network)?;
        self.network_event("connect", &network.id).await;
        Ok(())
    }

    /// Takes it out of a network.
    pub(crate) async fn disconnect_network(&mut self, name_or_id: &str) -> Result<()> {
        let network = self.core.networks.get(name_or_id)?;
        if self.record.spec.network == NetworkMode::None && network.driver == "null" {
            return self.store_wanted(Vec::new()).await;
        }
        let mut wanted = self.changeable(&network)?;
        let Some(position) = self.position(&wanted, &network) else {
            let name = self.container_name().unwrap_or_else(|| self.record.id.to_string());
            let message = format!("container {name} is not connected to the network {}", network.name);
            return Err(Error::new(ErrorKind::Forbidden, message));
        };
        wanted.remove(position);
        let up = self.running()?;
        self.store_wanted(wanted).await?;
        let Some(up) = up else { return Ok(()) };
        let netns = netns_of(&up)?;
        let networks = self.core.networks.clone();
        networks.disconnect_from(&self.record.id, netns.as_fd(), network.id.as_str()).await?;
        networks.serve_names(&self.record.id, netns.as_fd(), etc_files::forwarding(&self.record.spec.dns)).await?;
        self.show_endpoints(&up);
        self.network_event("disconnect", &network.id).await;
        Ok(())
    }

    /// The container's name is what others resolve.
    pub(crate) async fn renamed(&self, name: &str) {
        if let Err(error) = self.core.networks.rename(&self.record.id, name).await {
            tracing::error!(%error, name, "the new name is not stored with the networks: it holds until the next start");
        }
    }

    /// The networks that are wanted now, when they can change at all.
    fn changeable(&self, network: &NetworkView) -> Result<Vec<EndpointSpec>> {
        match &self.record.spec.network {
            _ if network.driver == "host" => Err(Error::invalid(HOST)),
            NetworkMode::Networks(wanted) => Ok(wanted.clone()),
            NetworkMode::Host | NetworkMode::Container(_) => Err(Error::invalid(SHARED)),
            NetworkMode::None => Err(Error::invalid(PRIVATE)),
            NetworkMode::Pod => Err(Error::invalid("the network of a pod is the cluster's: it cannot be changed")),
        }
    }

    fn position(&self, wanted: &[EndpointSpec], network: &NetworkView) -> Option<usize> {
        let is_it =
            |spec: &EndpointSpec| self.core.networks.get(&spec.network).is_ok_and(|found| found.id == network.id);
        wanted.iter().position(is_it)
    }

    /// What it holds while up; none while down.
    fn running(&self) -> Result<Option<Arc<UpSandbox>>> {
        match self.record.phase {
            SandboxPhase::NotReady => Ok(None),
            SandboxPhase::Ready => Ok(self.cell.up()),
            SandboxPhase::Creating | SandboxPhase::Stopping | SandboxPhase::Removing => {
                Err(Error::conflict(format!("sandbox {} is being stopped or removed", self.record.id)))
            }
        }
    }

    async fn store_wanted(&mut self, wanted: Vec<EndpointSpec>) -> Result<()> {
        let before = Arc::clone(&self.record.spec);
        Arc::make_mut(&mut self.record.spec).network = NetworkMode::Networks(wanted);
        let stored = self.commit(Durability::Power).await;
        if stored.is_err() {
            self.record.spec = before;
        }
        stored
    }

    /// Shows the endpoints that are in force, to readers and to its containers.
    fn show_endpoints(&mut self, up: &UpSandbox) {
        let attachment = self.core.networks.attachment(&self.record.id);
        let mut now = up.clone();
        now.endpoints = facts::endpoints(&attachment);
        now.ports = facts::ports(&attachment);
        if let Err(error) = self.refresh_etc(&up.endpoints, &now.endpoints) {
            tracing::warn!(%error, "the files under /etc do not follow the networks");
        }
        self.set_up(Some(now));
        self.publish();
    }
}

/// Its network namespace, by the shim that holds it.
fn netns_of(up: &UpSandbox) -> Result<OwnedFd> {
    let path = &up.held.network;
    std::fs::File::open(path)
        .map(OwnedFd::from)
        .map_err(|e| Error::internal(format!("open the network namespace {path}")).with_source(e))
}
