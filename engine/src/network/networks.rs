//! `Networks`: the handle that the sandbox drivers and both doors hold.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::id::SandboxId;
use crate::metadata::Store;
use crate::network::config::NetworkConfig;
use crate::network::spec::{EndpointSpec, NetworkSpec, PortMapping};
use crate::network::view::{Attachment, NetworkView};

/// A network namespace, held by its descriptor only: it ends with the last holder.
#[derive(Debug)]
pub struct Netns(OwnedFd);

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Netns> for OwnedFd {
    fn from(netns: Netns) -> Self {
        netns.0
    }
}

/// All networks of this daemon; cheap to clone.
#[derive(Debug, Clone)]
pub struct Networks;

impl Networks {
    /// Loads the records, makes the predefined networks and puts bridges, rules and port reservations in force.
    ///
    /// # Errors
    /// `Internal` when the store cannot be read.
    pub async fn open(_store: Store, _config: NetworkConfig) -> Result<Self> {
        Err(Error::not_implemented("networks"))
    }
    /// Removes every endpoint of a sandbox that is not in `live`; answers what was removed.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn retain(&self, _live: &HashSet<SandboxId>) -> Result<Vec<String>> {
        Err(Error::not_implemented("networks"))
    }
    /// All networks, by name. From memory.
    pub fn list(&self) -> Vec<Arc<NetworkView>> {
        Vec::new()
    }
    /// One network by name, id or unique prefix of an id. From memory.
    ///
    /// # Errors
    /// `NotFound`, or `InvalidArgument` when a prefix fits several.
    pub fn get(&self, name_or_id: &str) -> Result<Arc<NetworkView>> {
        Err(Error::not_found(format!("network {name_or_id} not found")))
    }
    /// Creates a network.
    ///
    /// # Errors
    /// `AlreadyExists`, `InvalidArgument` naming the field, `ResourceExhausted` when no subnet is free.
    pub async fn create(&self, _spec: NetworkSpec) -> Result<Arc<NetworkView>> {
        Err(Error::not_implemented("networks"))
    }
    /// Removes a network that has no endpoints.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden` for a predefined one, `Conflict` when it is in use.
    pub async fn remove(&self, _name_or_id: &str) -> Result<()> {
        Err(Error::not_implemented("networks"))
    }
    /// Removes the unused networks for which `wanted` holds; answers their names.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn prune(&self, _wanted: impl Fn(&NetworkView) -> bool + Send) -> Result<Vec<String>> {
        Err(Error::not_implemented("networks"))
    }
    /// A new network namespace with `lo` up, from the pool when one is ready.
    ///
    /// # Errors
    /// `ResourceExhausted` when the kernel gives none.
    pub async fn take_netns(&self) -> Result<Netns> {
        Err(Error::not_implemented("networks"))
    }
    /// Puts a sandbox into networks and publishes its ports: all of it or nothing.
    ///
    /// # Errors
    /// `NotFound` for a network, `InvalidArgument` for an address, `AlreadyExists` for a taken port or address.
    pub async fn connect(
        &self,
        _sandbox: &SandboxId,
        _netns: BorrowedFd<'_>,
        _wanted: &[EndpointSpec],
        _ports: &[PortMapping],
    ) -> Result<Attachment> {
        Err(Error::not_implemented("networks"))
    }
    /// What [`Self::connect`] made for this sandbox, from memory; empty when it is in no network.
    pub fn attachment(&self, _sandbox: &SandboxId) -> Attachment {
        Attachment::default()
    }
    /// Takes a sandbox out of all its networks. May be repeated.
    ///
    /// # Errors
    /// When the store or the kernel refuses; the rest is tried again by the next call and by [`Self::retain`].
    pub async fn disconnect(&self, _sandbox: &SandboxId) -> Result<()> {
        Err(Error::not_implemented("networks"))
    }
}
