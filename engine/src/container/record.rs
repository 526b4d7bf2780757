//! What is stored of a container, and nothing else. Drawn here; the table is `metadata/tables/container.rs`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::container::state::ContainerState;
use crate::container::{ContainerView, HealthView, MountView, ResolvedProcess};
use crate::error::{Error, Result};
use crate::id::{ContainerId, ExecId, ImageId, SandboxId};
use crate::sandbox::{EndpointInfo, PublishedPort};
use crate::snapshot::SnapshotKey;
use crate::spec::facts::ResolvedMount;
use crate::spec::user::ResolvedUser;
use crate::spec::{ContainerSpec, HealthSpec, SandboxChoice};

/// The record's form. A change of meaning takes the next number and a reader of the old one.
pub(crate) const RECORD_VERSION: u32 = 1;

/// A container as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    /// [`RECORD_VERSION`].
    pub(crate) version: u32,
    pub(crate) id: ContainerId,
    pub(crate) name: String,
    pub(crate) sandbox_id: SandboxId,
    pub(crate) spec: Arc<ContainerSpec>,
    pub(crate) image_id: ImageId,
    pub(crate) resolved: Arc<ResolvedProcess>,
    /// The health check in force: asked for, else the image's.
    pub(crate) health: Option<HealthSpec>,
    pub(crate) state: ContainerState,
    pub(crate) pid: u32,
    pub(crate) exit_code: i32,
    pub(crate) oom_killed: bool,
    pub(crate) error: String,
    pub(crate) created_ns: i64,
    pub(crate) started_ns: i64,
    pub(crate) finished_ns: i64,
    pub(crate) restart_count: u32,
    pub(crate) stopped_by_user: bool,
    /// Mounts as the doors show them, and as the runtime makes them; the same order.
    pub(crate) mounts: Vec<MountView>,
    pub(crate) runtime_mounts: Vec<ResolvedMount>,
    pub(crate) log_path: String,
    pub(crate) etc_paths: (String, String, String),
    pub(crate) cgroup_path: String,
    /// Who the first process ran as at its last start.
    #[serde(default)]
    pub(crate) runs_as: Option<ResolvedUser>,
}

/// What a view shows beside the record: it lives only in memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Live {
    pub(crate) health: Option<HealthView>,
    pub(crate) endpoints: Vec<EndpointInfo>,
    pub(crate) ports: Vec<PublishedPort>,
    pub(crate) exec_ids: Vec<ExecId>,
    pub(crate) seq: u64,
    /// Why the newest change is not stored.
    pub(crate) unstored: Option<String>,
}

impl ContainerRecord {
    /// The immutable snapshot that both doors read.
    pub(crate) fn view(&self, live: &Live) -> ContainerView {
        ContainerView {
            id: self.id.clone(),
            name: self.name.clone(),
            spec: Arc::clone(&self.spec),
            sandbox_id: self.sandbox_id.clone(),
            image_id: self.image_id,
            resolved: Arc::clone(&self.resolved),
            phase: self.state.phase(),
            pid: self.pid,
            exit_code: self.exit_code,
            oom_killed: self.oom_killed,
            error: self.shown_error(live),
            created_ns: self.created_ns,
            started_ns: self.started_ns,
            finished_ns: self.finished_ns,
            restart_count: self.restart_count,
            stopped_by_user: self.stopped_by_user,
            health: live.health.clone(),
            mounts: self.mounts.clone(),
            endpoints: live.endpoints.clone(),
            ports: live.ports.clone(),
            log_path: self.log_path.clone(),
            etc_paths: self.etc_paths.clone(),
            exec_ids: live.exec_ids.clone(),
            cgroup_path: self.cgroup_path.clone(),
            runs_as: self.runs_as.clone(),
            seq: live.seq,
        }
    }
    fn shown_error(&self, live: &Live) -> String {
        match &live.unstored {
            None => self.error.clone(),
            Some(why) if self.error.is_empty() => why.clone(),
            Some(why) => format!("{}; {why}", self.error),
        }
    }
    /// Whether its sandbox was made with it and goes with it.
    pub(crate) fn owns_sandbox(&self) -> bool {
        matches!(self.spec.sandbox, SandboxChoice::Own(_))
    }
    /// The name of its writable layer.
    ///
    /// # Errors
    /// Never for an id that was made here: it is hexadecimal.
    pub(crate) fn snapshot_key(&self) -> Result<SnapshotKey> {
        self.id.as_str().parse()
    }
    /// Reads a stored record.
    ///
    /// # Errors
    /// `Internal` when it is of a form this version does not know.
    pub(crate) fn from_json(id: &str, text: &str) -> Result<Self> {
        let record: Self = serde_json::from_str(text)
            .map_err(|e| Error::internal(format!("record of container {id}")).with_source(e))?;
        if record.version > RECORD_VERSION {
            return Err(Error::internal(format!("record of container {id} has form {}", record.version)));
        }
        Ok(record)
    }
}
