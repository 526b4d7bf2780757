//! What was asked for: the meeting point of the two doors.
//!
//! Each door translates its wire types into these and nothing else; `build.rs` turns them into an OCI runtime spec.
//! Everything here is plain data that is stored in the object's record. A `None` or an empty collection means "not
//! asked": the image's or the engine's default holds.

pub mod build;
pub mod capabilities;
pub mod cdi;
pub mod devices;
pub mod env;
pub mod facts;
mod log;
pub mod log_tag;
pub mod mounts;
mod namespaces;
pub mod resources;
pub mod user;
pub mod validate;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::id::{ContainerId, Owner, SandboxId};

pub use log::{LOG_QUEUE_BYTES, LogAttributes, LogFiles, LogQueue, LogSpec, SyslogAddress, SyslogFormat};

/// A container as asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// The door that asks.
    pub owner: Owner,
    /// Unique among the owner's containers. Docker: without the leading slash; empty = the engine makes one up.
    pub name: String,
    /// The image as the user wrote it, or an image id.
    pub image: String,
    /// The image reference that the user named when `image` is an id (CRI `user_specified_image`), else empty.
    pub image_display: String,
    /// Platform wanted of the image, `os/arch[/variant]`, empty = the node's.
    pub platform: String,
    /// Labels (docker: config labels; CRI: labels). The image's labels are merged under them for docker.
    pub labels: BTreeMap<String, String>,
    /// CRI annotations, docker `HostConfig.Annotations`: also go into the OCI spec.
    pub annotations: BTreeMap<String, String>,
    /// Where it runs: in a sandbox of its own (docker) or in a pod's.
    pub sandbox: SandboxChoice,
    /// The first process.
    pub process: ProcessSpec,
    /// Namespaces beside those of the sandbox.
    pub namespaces: NamespaceSpec,
    /// Mounts in the order they are made.
    pub mounts: Vec<MountSpec>,
    /// Named or anonymous volumes that the image declares are mounted too, unless covered (docker true, CRI false).
    pub image_volumes: bool,
    /// Limits.
    pub resources: Resources,
    /// What it may do.
    pub security: SecuritySpec,
    /// Device nodes.
    pub devices: Vec<DeviceSpec>,
    /// Ports that the user names as served, `80/tcp`, beside those of the image (docker `--expose`).
    #[serde(default)]
    pub exposed_ports: Vec<String>,
    /// CDI device names, `vendor.com/class=name`.
    pub cdi_devices: Vec<String>,
    /// Rules such as `c 1:3 rwm` beside those of `devices`.
    pub device_cgroup_rules: Vec<String>,
    /// Where output goes.
    pub log: LogSpec,
    /// Run the engine's own init as process 1 (docker `--init`).
    pub init: bool,
    /// What happens after an exit. CRI: always `No`.
    pub restart: RestartPolicy,
    /// Remove the container and its anonymous volumes after it exits.
    pub auto_remove: bool,
    /// Signal that asks for the end, as name or number; empty = the image's, else `SIGTERM`.
    pub stop_signal: String,
    /// Seconds between that signal and SIGKILL; `None` = the engine's default (10).
    pub stop_timeout_s: Option<i64>,
    /// Health check; `None` = the image's (docker), none (CRI).
    pub health: Option<HealthSpec>,
    /// Name of the runtime handler; empty = the sandbox's or the default.
    pub runtime: String,
    /// CRI attempt number; 0 for docker.
    pub attempt: u32,
    /// The door's own document (docker: create body as JSON, CRI: container config as JSON), given back untouched in
    /// views for `inspect`/status. The engine never looks into it.
    pub door_document: String,
}

/// Which sandbox a container runs in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxChoice {
    /// Its own, made with the container, up while it runs, removed with it.
    Own(Box<SandboxSpec>),
    /// A pod that exists.
    Pod(SandboxId),
}

/// A sandbox as asked for: namespaces, network and limits that containers share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// The door that asks.
    pub owner: Owner,
    /// Unique among the owner's sandboxes: CRI `name_namespace_uid_attempt`; docker: the container's id.
    pub name: String,
    /// CRI pod identity.
    pub pod: Option<PodIdentity>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Hostname; empty = the first 12 characters of the id (docker) or the node's (host network).
    pub hostname: String,
    /// NIS domain name.
    pub domainname: String,
    /// Network.
    pub network: NetworkMode,
    /// Published ports.
    pub ports: Vec<PortSpec>,
    /// resolv.conf.
    pub dns: DnsSpec,
    /// Further lines of /etc/hosts, `name:address`.
    pub extra_hosts: Vec<String>,
    /// IPC namespace of the sandbox: own, host, or another container's.
    pub ipc: NamespaceMode,
    /// Processes of all containers share one PID namespace with the engine's init (CRI pid=POD).
    pub pid: NamespaceMode,
    /// UTS namespace.
    pub uts: NamespaceMode,
    /// User namespace.
    pub user: UserNamespaceSpec,
    /// Namespaced sysctls.
    pub sysctls: BTreeMap<String, String>,
    /// Parent cgroup: path (cgroupfs) or slice (systemd); empty = the engine's default.
    pub cgroup_parent: String,
    /// Directory where container logs are written (CRI); empty = the engine's own place.
    pub log_directory: String,
    /// Name of the runtime handler; empty = the default.
    pub runtime: String,
    /// Limits of the pod as a whole (CRI overhead + resources).
    pub resources: Resources,
    /// Security of the sandbox level (seccomp of the init, SELinux label, privileged pod allowed).
    pub security: SecuritySpec,
    /// Size of /dev/shm in bytes; 0 = 64 MiB.
    pub shm_bytes: u64,
    /// The door's own document, given back untouched.
    pub door_document: String,
}

impl SandboxSpec {
    /// Size of /dev/shm in bytes: as asked for, else docker's and Kubernetes' default.
    pub fn shm_size(&self) -> u64 {
        if self.shm_bytes == 0 { 64 << 20 } else { self.shm_bytes }
    }
}

/// What CRI calls PodSandboxMetadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodIdentity {
    /// Pod name.
    pub name: String,
    /// Pod UID.
    pub uid: String,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Attempt number.
    pub attempt: u32,
}

/// How a namespace is chosen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamespaceMode {
    /// A new one of its own.
    #[default]
    Private,
    /// The one of the sandbox (CRI POD).
    Sandbox,
    /// The host's.
    Host,
    /// That of another container (docker `container:X`, CRI TARGET).
    Container(ContainerId),
}

/// Namespaces of one container beside the sandbox's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NamespaceSpec {
    /// PID.
    pub pid: NamespaceMode,
    /// IPC: `Sandbox` for pods; docker: `Private` (its own sandbox's), `Host`, `Container`.
    pub ipc: NamespaceMode,
    /// UTS.
    pub uts: NamespaceMode,
    /// cgroup: `Private` or `Host`.
    pub cgroup: NamespaceMode,
}

/// User namespace and its id maps.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserNamespaceSpec {
    /// The host's.
    #[default]
    Host,
    /// One with these maps.
    Mapped {
        /// uid map.
        uids: Vec<IdMap>,
        /// gid map.
        gids: Vec<IdMap>,
    },
}

/// One range of an id map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    /// First id inside.
    pub container_id: u32,
    /// First id on the host.
    pub host_id: u32,
    /// How many.
    pub length: u32,
}

/// The network of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// The host's namespace.
    Host,
    /// Own namespace with only loopback.
    None,
    /// The namespace of another container's sandbox.
    Container(ContainerId),
    /// Endpoints on the engine's networks, interfaces in this order. Empty = only loopback, until it is connected.
    Networks(Vec<EndpointSpec>),
    /// As the pod network of the node: CNI if configured, else the built-in bridge.
    Pod,
}

/// A wanted endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EndpointSpec {
    /// Network name or id.
    pub network: String,
    /// Names that others on the network resolve.
    pub aliases: Vec<String>,
    /// Wanted address.
    pub ipv4: Option<Ipv4Addr>,
    /// Wanted address.
    pub ipv6: Option<Ipv6Addr>,
    /// Wanted MAC.
    pub mac: Option<[u8; 6]>,
    /// Which endpoint has the default route: the highest wins, then the first name of a network.
    #[serde(default)]
    pub gateway_priority: i64,
    /// Interface name in the sandbox; `eth<n>` when absent.
    #[serde(default)]
    pub interface: Option<String>,
    /// Other containers under names of this one's choice: (container name or id, name here).
    #[serde(default)]
    pub links: Vec<(String, String)>,
    /// Driver options.
    pub options: BTreeMap<String, String>,
}

/// Transport protocol of a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A port to publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortSpec {
    /// Host address; `None` = all, IPv4 and IPv6.
    pub host_ip: Option<IpAddr>,
    /// First host port; 0 = choose one.
    pub host_port: u16,
    /// Last host port of the range to choose from; equal to `host_port` for one.
    pub host_port_end: u16,
    /// Port in the sandbox.
    pub container_port: u16,
    /// Protocol.
    pub protocol: Protocol,
}

/// resolv.conf as asked for; empty = the host's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DnsSpec {
    /// nameserver lines.
    pub servers: Vec<String>,
    /// search line.
    pub searches: Vec<String>,
    /// options line.
    pub options: Vec<String>,
}

/// The first process of a container, or an exec.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// Replaces the image's entrypoint; `Some(vec![])` clears it.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    pub cmd: Option<Vec<String>>,
    /// `KEY=value`; a `KEY` alone removes the image's.
    pub env: Vec<String>,
    /// Working directory; empty = the image's.
    pub cwd: String,
    /// `user[:group]`, names or numbers; empty = the image's.
    pub user: String,
    /// Supplementary groups, names or numbers.
    pub additional_groups: Vec<String>,
    /// Groups of the image's /etc/group are added (docker, CRI Merge) or not (CRI Strict).
    pub groups_from_image: bool,
    /// A terminal.
    pub tty: bool,
    /// Keep stdin open.
    pub open_stdin: bool,
    /// Close stdin after the first attached client leaves.
    pub stdin_once: bool,
    /// Terminal size at start: height, width.
    pub console_size: Option<(u16, u16)>,
}

/// A mount of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSpec {
    /// What is mounted.
    pub source: MountSource,
    /// Absolute path in the container.
    pub target: String,
    /// Read-only.
    pub readonly: bool,
    /// Read-only for all mounts below too (rro); refused where the kernel lacks it.
    pub recursive_readonly: bool,
    /// Only the mount itself, not those below (docker `BindOptions.NonRecursive`).
    pub non_recursive: bool,
    /// Propagation.
    pub propagation: Propagation,
    /// Id maps of the mount.
    pub id_maps: Option<(Vec<IdMap>, Vec<IdMap>)>,
    /// Relabel for SELinux (z, Z).
    pub selinux_relabel: bool,
}

/// The source of a mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountSource {
    /// A path of the host.
    Bind {
        /// Absolute path.
        path: String,
        /// Make the directory if it is absent (docker `-v`, not `--mount`).
        create: bool,
    },
    /// A named volume, or a new anonymous one when the name is empty.
    Volume {
        /// Name; empty = anonymous.
        name: String,
        /// Driver; empty = local.
        driver: String,
        /// Driver options.
        options: BTreeMap<String, String>,
        /// Labels.
        labels: BTreeMap<String, String>,
        /// Do not copy the image's content into an empty volume.
        no_copy: bool,
        /// Path below the volume's root.
        subpath: String,
    },
    /// A tmpfs.
    Tmpfs {
        /// Bytes; 0 = no limit.
        size_bytes: u64,
        /// Mode bits; 0 = 1777.
        mode: u32,
        /// Further mount options as docker's `--tmpfs` takes them.
        options: Vec<String>,
    },
    /// An image, read-only.
    Image {
        /// Reference or id.
        image: String,
        /// Path below its root.
        subpath: String,
    },
}

/// Mount propagation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    /// None, with all mounts below.
    #[default]
    Rprivate,
    /// None.
    Private,
    /// Host to container, recursively.
    Rslave,
    /// Host to container.
    Slave,
    /// Both ways, recursively.
    Rshared,
    /// Both ways.
    Shared,
}

/// Limits. `None` or 0 or empty = none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// cpu.shares (v1 scale, 2..=262144).
    pub cpu_shares: Option<u64>,
    /// Quota in microseconds each period; negative = none.
    pub cpu_quota_us: Option<i64>,
    /// Period in microseconds.
    pub cpu_period_us: Option<u64>,
    /// Burst in microseconds.
    pub cpu_burst_us: Option<u64>,
    /// Realtime runtime in microseconds.
    pub cpu_rt_runtime_us: Option<i64>,
    /// Realtime period in microseconds.
    pub cpu_rt_period_us: Option<u64>,
    /// CPUs, list format.
    pub cpuset_cpus: String,
    /// Memory nodes, list format.
    pub cpuset_mems: String,
    /// Memory limit in bytes.
    pub memory_bytes: Option<i64>,
    /// Soft limit in bytes.
    pub memory_reservation_bytes: Option<i64>,
    /// Memory plus swap in bytes, -1 = unlimited swap.
    pub memory_swap_bytes: Option<i64>,
    /// 0..=100.
    pub memory_swappiness: Option<u64>,
    /// Kernel memory for TCP buffers in bytes (v1).
    pub kernel_memory_tcp_bytes: Option<i64>,
    /// Disable the OOM killer (v1).
    pub oom_kill_disable: bool,
    /// oom_score_adj of the first process, -1000..=1000.
    pub oom_score_adj: Option<i32>,
    /// Number of processes; negative or 0 = no limit.
    pub pids_max: Option<i64>,
    /// Block IO weight, 10..=1000.
    pub blkio_weight: Option<u16>,
    /// `(path, weight)`.
    pub blkio_weight_device: Vec<(String, u16)>,
    /// `(path, rate)` bytes a second read.
    pub blkio_read_bps: Vec<(String, u64)>,
    /// `(path, rate)` bytes a second written.
    pub blkio_write_bps: Vec<(String, u64)>,
    /// `(path, rate)` operations a second read.
    pub blkio_read_iops: Vec<(String, u64)>,
    /// `(path, rate)` operations a second written.
    pub blkio_write_iops: Vec<(String, u64)>,
    /// `(page size such as 2MB, bytes)`.
    pub hugetlb: Vec<(String, u64)>,
    /// cgroup v2 files and values.
    pub unified: BTreeMap<String, String>,
    /// `(name, soft, hard)` without RLIMIT_.
    pub ulimits: Vec<(String, u64, u64)>,
}

/// What a container may do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SecuritySpec {
    /// Everything.
    pub privileged: bool,
    /// Capabilities added to docker's default set, without or with `CAP_`, or `ALL`.
    pub cap_add: Vec<String>,
    /// Capabilities dropped.
    pub cap_drop: Vec<String>,
    /// Ambient capabilities (CRI `add_ambient_capabilities`).
    pub cap_ambient: Vec<String>,
    /// no_new_privs.
    pub no_new_privileges: bool,
    /// Seccomp.
    pub seccomp: SeccompChoice,
    /// AppArmor profile: empty = default where the kernel has it, `unconfined`, or a name.
    pub apparmor: String,
    /// SELinux options `user:role:type:level`, empty = none.
    pub selinux: String,
    /// Read-only root file system.
    pub readonly_rootfs: bool,
    /// Masked paths; `None` = docker's default list, `Some([])` = none.
    pub masked_paths: Option<Vec<String>>,
    /// Read-only paths; `None` = docker's default list.
    pub readonly_paths: Option<Vec<String>>,
    /// Refuse to run as uid 0 (CRI runAsNonRoot is checked by the kubelet; this is for the resolved user).
    pub run_as_non_root: bool,
}

/// The seccomp profile.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeccompChoice {
    /// The engine's default (docker's policy); privileged containers run unconfined.
    #[default]
    RuntimeDefault,
    /// None.
    Unconfined,
    /// A profile as docker's JSON.
    Profile(String),
    /// A profile in a file of the host (CRI Localhost).
    Localhost(String),
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSpec {
    /// Path on the host: a node, or a directory of nodes.
    pub host_path: String,
    /// Path in the container.
    pub container_path: String,
    /// Some of `rwm`.
    pub permissions: String,
}

/// docker's restart policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// Always, also at daemon start.
    Always,
    /// Always, unless stopped by the user.
    UnlessStopped,
    /// On a non-zero exit, at most so often (0 = without limit).
    OnFailure {
        /// Retries.
        max_retries: u32,
    },
}

/// A health check. Durations in nanoseconds as docker has them; 0 = the default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HealthSpec {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", …]`.
    pub test: Vec<String>,
    /// Between probes (30 s).
    pub interval_ns: i64,
    /// For one probe (30 s).
    pub timeout_ns: i64,
    /// In which failures do not count (0).
    pub start_period_ns: i64,
    /// Between probes in the start period (5 s).
    pub start_interval_ns: i64,
    /// Failures that make it unhealthy (3).
    pub retries: u32,
}

/// An exec as asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ExecSpec {
    /// Program and arguments.
    pub args: Vec<String>,
    /// Added to the container's environment.
    pub env: Vec<String>,
    /// Working directory; empty = the container's.
    pub cwd: String,
    /// `user[:group]`; empty = the container's.
    pub user: String,
    /// All capabilities.
    pub privileged: bool,
    /// A terminal.
    pub tty: bool,
    /// Attach stdin.
    pub stdin: bool,
    /// Attach stdout.
    pub stdout: bool,
    /// Attach stderr.
    pub stderr: bool,
    /// docker detach keys, empty = the default.
    pub detach_keys: String,
    /// Terminal size at start: height, width.
    pub console_size: Option<(u16, u16)>,
}
