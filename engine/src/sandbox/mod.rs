//! A sandbox: the namespaces, the network and the limits that containers share. A pod, or one docker container's own.
//!
//! ```text
//!   run            stop               remove
//! (none) ─► Creating ─► Ready ─► Stopping ─► NotReady ─► Removing ─► (none)
//! ```

pub(crate) mod connect;
pub(crate) mod dial;
pub(crate) mod driver;
pub mod etc_files;
pub(crate) mod facts;
pub(crate) mod files;
pub(crate) mod handle;
pub(crate) mod record;
pub(crate) mod remove;
pub(crate) mod run;
pub mod state;
pub(crate) mod stats;
pub(crate) mod stop;
mod update;

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::{ContainerId, EndpointId, NetworkId, SandboxId};
use crate::spec::{Protocol, SandboxSpec};

pub use handle::SandboxHandle;
pub use record::HeldNamespaces;
pub use stats::{ContainerSample, SandboxSample};

/// Where a sandbox is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxPhase {
    /// Being made.
    Creating,
    /// Up.
    Ready,
    /// Being taken down.
    Stopping,
    /// Down; also a docker container's own sandbox while the container does not run.
    NotReady,
    /// Being removed.
    Removing,
}

/// What is known of a sandbox: an immutable snapshot in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct SandboxView {
    /// Id.
    pub id: SandboxId,
    /// As asked for.
    pub spec: Arc<SandboxSpec>,
    /// Phase.
    pub phase: SandboxPhase,
    /// When it was made, ns since 1970.
    pub created_ns: i64,
    /// Pid of its shim; 0 = none.
    pub shim_pid: u32,
    /// Path of its network namespace, empty for the host's or when down.
    pub netns_path: String,
    /// Endpoints, while up, in the order of their connection.
    pub endpoints: Vec<EndpointInfo>,
    /// Published ports, while up.
    pub ports: Vec<PublishedPort>,
    /// Containers in it.
    pub containers: Vec<ContainerId>,
    /// Why it is not ready or could not be removed.
    pub error: String,
    /// Name of its runtime handler as resolved.
    pub runtime: String,
    /// cgroup parent as resolved.
    pub cgroup_parent: String,
}

/// An endpoint that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointInfo {
    /// Network.
    pub network_id: NetworkId,
    /// Its name.
    pub network_name: String,
    /// Endpoint.
    pub endpoint_id: EndpointId,
    /// Address and prefix length, if IPv4.
    pub ipv4: Option<(std::net::Ipv4Addr, u8)>,
    /// Address and prefix length, if IPv6.
    pub ipv6: Option<(std::net::Ipv6Addr, u8)>,
    /// Gateway.
    pub gateway_ipv4: Option<std::net::Ipv4Addr>,
    /// Gateway.
    pub gateway_ipv6: Option<std::net::Ipv6Addr>,
    /// `02:42:…`.
    pub mac: String,
    /// Interface in the sandbox.
    pub interface: String,
    /// Names.
    pub aliases: Vec<String>,
    /// As asked.
    #[serde(default)]
    pub gateway_priority: i64,
}

/// A port that is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// Port in the sandbox.
    pub container_port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// Host address; unspecified = all.
    pub host_ip: IpAddr,
    /// Host port.
    pub host_port: u16,
}
