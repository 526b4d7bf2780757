//! What is stored of a sandbox, and nothing else. Drawn here; the table is `metadata/tables/sandbox.rs`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::{ContainerId, Owner, SandboxId};
use crate::sandbox::{EndpointInfo, PublishedPort, SandboxPhase, SandboxView};
use crate::spec::SandboxSpec;

/// The record's form. A change of meaning takes the next number and a reader of the old one.
pub(crate) const RECORD_VERSION: u32 = 1;

/// A sandbox as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SandboxRecord {
    /// [`RECORD_VERSION`].
    pub(crate) version: u32,
    pub(crate) id: SandboxId,
    pub(crate) spec: Arc<SandboxSpec>,
    pub(crate) phase: SandboxPhase,
    pub(crate) created_ns: i64,
    pub(crate) error: String,
    /// Name of the runtime handler as resolved.
    pub(crate) runtime: String,
    pub(crate) cgroup_parent: String,
    /// Made with a container and for it alone.
    pub(crate) implicit: bool,
    pub(crate) shim_pid: u32,
    /// Namespaces that the shim holds, while up.
    pub(crate) held: HeldNamespaces,
}

/// Where the namespaces of a sandbox that is up can be joined; empty = not held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldNamespaces {
    /// Network.
    pub network: String,
    /// IPC.
    pub ipc: String,
    /// UTS.
    pub uts: String,
    /// PID.
    pub pid: String,
    /// User.
    pub user: String,
    /// What a bind mount of the pod's `/dev/shm` names as its source.
    #[serde(default)]
    pub shm: String,
}

/// What a view shows beside the record.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Live {
    pub(crate) endpoints: Vec<EndpointInfo>,
    pub(crate) ports: Vec<PublishedPort>,
    pub(crate) containers: Vec<ContainerId>,
}

impl SandboxRecord {
    /// The immutable snapshot that both doors read.
    pub(crate) fn view(&self, live: &Live) -> SandboxView {
        SandboxView {
            id: self.id.clone(),
            spec: Arc::clone(&self.spec),
            phase: self.phase,
            created_ns: self.created_ns,
            shim_pid: self.shim_pid,
            netns_path: self.held.network.clone(),
            endpoints: live.endpoints.clone(),
            ports: live.ports.clone(),
            containers: live.containers.clone(),
            error: self.error.clone(),
            runtime: self.runtime.clone(),
            cgroup_parent: self.cgroup_parent.clone(),
        }
    }
    /// The door that made it.
    pub(crate) fn owner(&self) -> Owner {
        self.spec.owner
    }
    /// Reads a stored record.
    ///
    /// # Errors
    /// `Internal` when it is of a form this version does not know.
    pub(crate) fn from_json(id: &str, text: &str) -> Result<Self> {
        let record: Self = serde_json::from_str(text)
            .map_err(|e| Error::internal(format!("record of sandbox {id}")).with_source(e))?;
        if record.version > RECORD_VERSION {
            return Err(Error::internal(format!("record of sandbox {id} has form {}", record.version)));
        }
        Ok(record)
    }
}
