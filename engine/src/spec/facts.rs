//! What the builder of a runtime spec must know beside what was asked for: gathered by others, plain here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::spec::{HealthSpec, IdMap, Propagation};

/// An image's configuration, as far as a container takes it over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageFacts {
    /// Entrypoint.
    pub entrypoint: Vec<String>,
    /// Command.
    pub cmd: Vec<String>,
    /// Environment, `KEY=value`.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// User.
    pub user: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Stop signal.
    pub stop_signal: String,
    /// `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// Volumes.
    pub volumes: Vec<String>,
    /// Health check.
    pub health: Option<HealthSpec>,
}

/// Where a namespace comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum NamespaceAt {
    /// The runtime makes a new one.
    #[default]
    New,
    /// The host's: not listed in the runtime spec.
    Host,
    /// Joined at this path.
    Path(String),
}

/// What the sandbox and the engine give a container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SandboxFacts {
    /// Network namespace.
    pub network: NamespaceAt,
    /// IPC namespace.
    pub ipc: NamespaceAt,
    /// UTS namespace.
    pub uts: NamespaceAt,
    /// PID namespace.
    pub pid: NamespaceAt,
    /// cgroup namespace: `New` or `Host`.
    pub cgroup: NamespaceAt,
    /// User namespace and its maps.
    pub user: Option<UserFacts>,
    /// Hostname, also for `HOSTNAME` in the environment.
    pub hostname: String,
    /// NIS domain name; set only in a new UTS namespace.
    pub domainname: String,
    /// Source of the bind mount of a shared /dev/shm, or `None` for a tmpfs of the container's own.
    pub shm_path: Option<String>,
    /// Size of that tmpfs in bytes.
    pub shm_bytes: u64,
    /// Files mounted over /etc/resolv.conf, /etc/hostname, /etc/hosts; empty = not mounted.
    pub resolv_conf: String,
    /// See `resolv_conf`.
    pub hostname_file: String,
    /// See `resolv_conf`.
    pub hosts_file: String,
    /// cgroup of the container: path (cgroupfs) or `slice:prefix:name` (systemd).
    pub cgroups_path: String,
    /// Sysctls for a namespace that the runtime makes.
    pub sysctls: BTreeMap<String, String>,
}

/// A user namespace to join or make.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserFacts {
    /// Where it is.
    pub at: NamespaceAt,
    /// uid map.
    pub uids: Vec<IdMap>,
    /// gid map.
    pub gids: Vec<IdMap>,
}

/// What the node has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostFacts {
    /// 1 or 2.
    pub cgroup_version: u8,
    /// CPUs, for the masked `thermal_throttle` files.
    pub cpus: usize,
    /// The kernel has AppArmor.
    pub apparmor: bool,
    /// The kernel has SELinux.
    pub selinux: bool,
    /// Capabilities the engine itself has, as bits: what it lacks cannot be given.
    pub capabilities: u64,
    /// All device nodes, gathered only for privileged containers.
    pub devices: Vec<DeviceNode>,
}

/// A device node of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceNode {
    /// Path in the container.
    pub path: String,
    /// `b`, `c` or `p`.
    pub kind: char,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Some of `rwm`.
    pub permissions: String,
}

/// A mount whose source is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedMount {
    /// Absolute path in the container.
    pub target: String,
    /// `bind` or `tmpfs`.
    pub kind: String,
    /// Path on the host, or `tmpfs`.
    pub source: String,
    /// Mount options beside those below.
    pub options: Vec<String>,
    /// Read-only.
    pub readonly: bool,
    /// Read-only for all below.
    pub recursive_readonly: bool,
    /// Only this mount, not those below it.
    pub non_recursive: bool,
    /// Propagation.
    pub propagation: Propagation,
    /// Id maps.
    pub id_maps: Option<(Vec<IdMap>, Vec<IdMap>)>,
}
