//! `/containers`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::Empty;
use crate::network::{EndpointSettings, NetworkingConfig};
use crate::skip::zero;

/// A command: read from a list or from one string, written as a list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct StrSlice(pub Vec<String>);

impl<'de> Deserialize<'de> for StrSlice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListOrString;
        impl<'de> Visitor<'de> for ListOrString {
            type Value = StrSlice;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }
            fn visit_unit<E>(self) -> Result<StrSlice, E> {
                Ok(StrSlice::default())
            }
            fn visit_str<E>(self, text: &str) -> Result<StrSlice, E> {
                Ok(StrSlice(vec![text.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<StrSlice, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(StrSlice(list))
            }
        }
        deserializer.deserialize_any(ListOrString)
    }
}

/// The portable part of a container: body of create, and `Config` of inspect.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Config {
    /// Hostname.
    pub hostname: String,
    /// NIS domain name.
    pub domainname: String,
    /// `user[:group]`.
    pub user: String,
    /// The client wants stdin.
    pub attach_stdin: bool,
    /// The client wants stdout.
    pub attach_stdout: bool,
    /// The client wants stderr.
    pub attach_stderr: bool,
    /// `80/tcp`.
    #[serde(skip_serializing_if = "zero")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// A terminal.
    pub tty: bool,
    /// Keep stdin open.
    pub open_stdin: bool,
    /// Close stdin when the first client leaves.
    pub stdin_once: bool,
    /// Environment.
    pub env: Option<Vec<String>>,
    /// Command.
    pub cmd: Option<StrSlice>,
    /// Health check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthConfig>,
    /// Windows.
    #[serde(skip_serializing_if = "zero")]
    pub args_escaped: bool,
    /// Image.
    pub image: String,
    /// Anonymous volumes.
    pub volumes: Option<BTreeMap<String, Empty>>,
    /// Directory.
    pub working_dir: String,
    /// Entrypoint.
    pub entrypoint: Option<StrSlice>,
    /// No network at all, older form.
    #[serde(skip_serializing_if = "zero")]
    pub network_disabled: bool,
    /// Hardware address, older form.
    #[serde(skip_serializing_if = "zero")]
    pub mac_address: String,
    /// Build triggers; not used for containers.
    pub on_build: Option<Vec<String>>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Stop signal.
    #[serde(skip_serializing_if = "zero")]
    pub stop_signal: String,
    /// Seconds to stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// Shell of shell forms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<StrSlice>,
}

/// A health check; durations in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HealthConfig {
    /// `["NONE"]`, `["CMD", …]`, `["CMD-SHELL", …]`; empty = the image's.
    #[serde(skip_serializing_if = "zero")]
    pub test: Vec<String>,
    /// Between probes.
    #[serde(skip_serializing_if = "zero")]
    pub interval: i64,
    /// For one probe.
    #[serde(skip_serializing_if = "zero")]
    pub timeout: i64,
    /// In which failures do not count.
    #[serde(skip_serializing_if = "zero")]
    pub start_period: i64,
    /// Between probes in the start period (1.44).
    #[serde(skip_serializing_if = "zero")]
    pub start_interval: i64,
    /// Failures in a row.
    #[serde(skip_serializing_if = "zero")]
    pub retries: i64,
}

/// What create carries beside [`Config`]; both are read from the same object.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CreateExtras {
    /// The part that belongs to this host.
    pub host_config: HostConfig,
    /// Networks.
    pub networking_config: NetworkingConfig,
}

/// The part of a container that belongs to this host.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HostConfig {
    /// `-v`.
    pub binds: Option<Vec<String>>,
    /// A client's file; kept only.
    #[serde(rename = "ContainerIDFile")]
    pub container_id_file: String,
    /// Logging.
    pub log_config: LogConfig,
    /// `bridge`, `host`, `none`, `container:X` or a network.
    pub network_mode: String,
    /// Published ports.
    pub port_bindings: Option<BTreeMap<String, Option<Vec<PortBinding>>>>,
    /// Restart policy.
    pub restart_policy: RestartPolicy,
    /// Remove after exit.
    pub auto_remove: bool,
    /// Volume driver of binds.
    pub volume_driver: String,
    /// Mounts of other containers.
    pub volumes_from: Option<Vec<String>>,
    /// Terminal size at start: height, width.
    pub console_size: [u32; 2],
    /// OCI annotations.
    #[serde(skip_serializing_if = "zero")]
    pub annotations: BTreeMap<String, String>,
    /// Capabilities added.
    pub cap_add: Option<StrSlice>,
    /// Capabilities dropped.
    pub cap_drop: Option<StrSlice>,
    /// `private`, `host` or empty.
    pub cgroupns_mode: String,
    /// nameserver lines.
    pub dns: Option<Vec<String>>,
    /// options line.
    pub dns_options: Option<Vec<String>>,
    /// search line.
    pub dns_search: Option<Vec<String>>,
    /// `name:address`.
    pub extra_hosts: Option<Vec<String>>,
    /// Supplementary groups.
    pub group_add: Option<Vec<String>>,
    /// `private`, `shareable`, `host`, `none`, `container:X`.
    pub ipc_mode: String,
    /// Older form of a cgroup of another container.
    pub cgroup: String,
    /// Links, older form.
    pub links: Option<Vec<String>>,
    /// -1000..=1000.
    pub oom_score_adj: i64,
    /// `host`, `container:X` or empty.
    pub pid_mode: String,
    /// Everything is allowed.
    pub privileged: bool,
    /// Publish all exposed ports.
    pub publish_all_ports: bool,
    /// Read-only root file system.
    pub readonly_rootfs: bool,
    /// `seccomp=…`, `no-new-privileges`, `apparmor=…`, `label=…`, `systempaths=…`.
    pub security_opt: Option<Vec<String>>,
    /// Options of the storage driver.
    #[serde(skip_serializing_if = "zero")]
    pub storage_opt: BTreeMap<String, String>,
    /// `--tmpfs`: path and options.
    #[serde(skip_serializing_if = "zero")]
    pub tmpfs: BTreeMap<String, String>,
    /// `host` or empty.
    #[serde(rename = "UTSMode")]
    pub uts_mode: String,
    /// `host` or empty.
    pub userns_mode: String,
    /// Bytes of /dev/shm.
    pub shm_size: i64,
    /// Sysctls.
    #[serde(skip_serializing_if = "zero")]
    pub sysctls: BTreeMap<String, String>,
    /// Runtime handler.
    #[serde(skip_serializing_if = "zero")]
    pub runtime: String,
    /// Windows.
    pub isolation: String,
    /// Relative weight.
    pub cpu_shares: i64,
    /// Bytes.
    pub memory: i64,
    /// CPUs in units of 10^-9.
    pub nano_cpus: i64,
    /// Parent cgroup.
    pub cgroup_parent: String,
    /// 10..=1000.
    pub blkio_weight: u16,
    /// By device.
    pub blkio_weight_device: Option<Vec<WeightDevice>>,
    /// Bytes a second.
    pub blkio_device_read_bps: Option<Vec<ThrottleDevice>>,
    /// Bytes a second.
    pub blkio_device_write_bps: Option<Vec<ThrottleDevice>>,
    /// Operations a second.
    #[serde(rename = "BlkioDeviceReadIOps")]
    pub blkio_device_read_iops: Option<Vec<ThrottleDevice>>,
    /// Operations a second.
    #[serde(rename = "BlkioDeviceWriteIOps")]
    pub blkio_device_write_iops: Option<Vec<ThrottleDevice>>,
    /// Microseconds.
    pub cpu_period: i64,
    /// Microseconds.
    pub cpu_quota: i64,
    /// Microseconds.
    pub cpu_realtime_period: i64,
    /// Microseconds.
    pub cpu_realtime_runtime: i64,
    /// CPUs, list format.
    pub cpuset_cpus: String,
    /// Memory nodes, list format.
    pub cpuset_mems: String,
    /// Device nodes.
    pub devices: Option<Vec<DeviceMapping>>,
    /// `c 1:3 rwm`.
    pub device_cgroup_rules: Option<Vec<String>>,
    /// Devices by driver: GPUs, CDI.
    pub device_requests: Option<Vec<DeviceRequest>>,
    /// Removed from kernels; refused.
    #[serde(skip_serializing_if = "zero")]
    pub kernel_memory: i64,
    /// Bytes of TCP buffers (cgroup v1).
    #[serde(rename = "KernelMemoryTCP", skip_serializing_if = "zero")]
    pub kernel_memory_tcp: i64,
    /// Bytes, soft.
    pub memory_reservation: i64,
    /// Bytes of memory and swap, -1 = no limit.
    pub memory_swap: i64,
    /// 0..=100; -1 or `null` = not set.
    pub memory_swappiness: Option<i64>,
    /// No OOM killer (cgroup v1).
    pub oom_kill_disable: Option<bool>,
    /// Processes; 0, -1 or `null` = no limit.
    pub pids_limit: Option<i64>,
    /// Ulimits.
    pub ulimits: Option<Vec<Ulimit>>,
    /// Windows.
    pub cpu_count: i64,
    /// Windows.
    pub cpu_percent: i64,
    /// Windows.
    #[serde(rename = "IOMaximumIOps")]
    pub io_maximum_iops: u64,
    /// Windows.
    #[serde(rename = "IOMaximumBandwidth")]
    pub io_maximum_bandwidth: u64,
    /// `--mount`.
    #[serde(skip_serializing_if = "zero")]
    pub mounts: Vec<Mount>,
    /// Paths hidden; `null` = docker's list.
    pub masked_paths: Option<Vec<String>>,
    /// Paths read-only; `null` = docker's list.
    pub readonly_paths: Option<Vec<String>>,
    /// Run an init.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
}

/// Logging.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LogConfig {
    /// `json-file`, `none`, …
    #[serde(rename = "Type")]
    pub kind: String,
    /// Driver options.
    #[serde(rename = "Config")]
    pub config: BTreeMap<String, String>,
}

/// Where a port is published.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PortBinding {
    /// Host address, empty = all.
    pub host_ip: String,
    /// Port, range `8000-8010`, or empty = choose.
    pub host_port: String,
}

/// When to start again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RestartPolicy {
    /// `no`, `always`, `unless-stopped`, `on-failure` or empty.
    pub name: String,
    /// For `on-failure`.
    pub maximum_retry_count: i64,
}

/// Weight of a device.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct WeightDevice {
    /// Node.
    pub path: String,
    /// 10..=1000.
    pub weight: u16,
}

/// Rate of a device.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ThrottleDevice {
    /// Node.
    pub path: String,
    /// A second.
    pub rate: u64,
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DeviceMapping {
    /// Host path.
    pub path_on_host: String,
    /// Path in the container.
    pub path_in_container: String,
    /// Some of `rwm`.
    pub cgroup_permissions: String,
}

/// Devices asked of a driver.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DeviceRequest {
    /// `cdi`, `nvidia`, …
    pub driver: String,
    /// How many; -1 = all.
    pub count: i64,
    /// Which.
    #[serde(rename = "DeviceIDs")]
    pub device_ids: Option<Vec<String>>,
    /// Capabilities.
    pub capabilities: Option<Vec<Vec<String>>>,
    /// Driver options.
    pub options: Option<BTreeMap<String, String>>,
}

/// One ulimit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Ulimit {
    /// `nofile`.
    pub name: String,
    /// Hard.
    pub hard: i64,
    /// Soft.
    pub soft: i64,
}

/// `--mount`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Mount {
    /// `bind`, `volume`, `tmpfs`, `image`, `npipe`, `cluster`.
    #[serde(rename = "Type", skip_serializing_if = "zero")]
    pub kind: String,
    /// Path, volume or image.
    #[serde(skip_serializing_if = "zero")]
    pub source: String,
    /// Path in the container.
    #[serde(skip_serializing_if = "zero")]
    pub target: String,
    /// Read-only.
    #[serde(skip_serializing_if = "zero")]
    pub read_only: bool,
    /// Mac only.
    #[serde(skip_serializing_if = "zero")]
    pub consistency: String,
    /// For `bind`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_options: Option<BindOptions>,
    /// For `volume`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_options: Option<VolumeOptions>,
    /// For `image` (1.48).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_options: Option<ImageOptions>,
    /// For `tmpfs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tmpfs_options: Option<TmpfsOptions>,
    /// For `cluster`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_options: Option<Empty>,
}

/// Options of a bind mount.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct BindOptions {
    /// `rprivate`, …
    #[serde(skip_serializing_if = "zero")]
    pub propagation: String,
    /// Not the mounts below.
    #[serde(skip_serializing_if = "zero")]
    pub non_recursive: bool,
    /// Make the directory on the host.
    #[serde(skip_serializing_if = "zero")]
    pub create_mountpoint: bool,
    /// Mounts below stay writable (1.44).
    #[serde(skip_serializing_if = "zero")]
    pub read_only_non_recursive: bool,
    /// Fail where mounts below cannot be made read-only (1.44).
    #[serde(skip_serializing_if = "zero")]
    pub read_only_force_recursive: bool,
}

/// Options of a volume mount.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct VolumeOptions {
    /// Do not fill it.
    #[serde(skip_serializing_if = "zero")]
    pub no_copy: bool,
    /// Labels of a new volume.
    #[serde(skip_serializing_if = "zero")]
    pub labels: BTreeMap<String, String>,
    /// Directory in it (1.45).
    #[serde(skip_serializing_if = "zero")]
    pub subpath: String,
    /// Driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver_config: Option<DriverConfig>,
}

/// Driver of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DriverConfig {
    /// Name.
    #[serde(skip_serializing_if = "zero")]
    pub name: String,
    /// Options.
    #[serde(skip_serializing_if = "zero")]
    pub options: BTreeMap<String, String>,
}

/// Options of an image mount.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageOptions {
    /// Directory in it.
    #[serde(skip_serializing_if = "zero")]
    pub subpath: String,
}

/// Options of a tmpfs mount.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TmpfsOptions {
    /// Bytes.
    #[serde(skip_serializing_if = "zero")]
    pub size_bytes: i64,
    /// Mode bits.
    #[serde(skip_serializing_if = "zero")]
    pub mode: u32,
    /// Mount options (1.46): `["noexec"]`, `["uid","1000"]`.
    #[serde(skip_serializing_if = "zero")]
    pub options: Vec<Vec<String>>,
}

/// Answer of create.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CreateResponse {
    /// Its id.
    pub id: String,
    /// Things to know.
    pub warnings: Vec<String>,
}

/// Answer of update.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct UpdateResponse {
    /// Things to know.
    pub warnings: Option<Vec<String>>,
}

/// Answer of wait.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct WaitResponse {
    /// Exit code.
    pub status_code: i64,
    /// Why it could not be waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<WaitError>,
}

/// Why a wait failed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct WaitError {
    /// Sentence.
    pub message: String,
}

/// Answer of top.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TopResponse {
    /// Rows.
    pub processes: Vec<Vec<String>>,
    /// Column titles.
    pub titles: Vec<String>,
}

/// Answer of container prune.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerPrune {
    /// Ids, `null` if none.
    pub containers_deleted: Option<Vec<String>>,
    /// Bytes.
    pub space_reclaimed: u64,
}

/// One row of `GET /containers/json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerSummary {
    /// Id.
    pub id: String,
    /// Names with a leading slash.
    pub names: Vec<String>,
    /// Image as shown.
    pub image: String,
    /// `sha256:…`.
    #[serde(rename = "ImageID")]
    pub image_id: String,
    /// The image's manifest (1.48).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_manifest_descriptor: Option<crate::image::Descriptor>,
    /// Command line.
    pub command: String,
    /// Seconds since 1970.
    pub created: i64,
    /// Ports.
    pub ports: Vec<Port>,
    /// Bytes of the writable layer, if asked.
    #[serde(skip_serializing_if = "zero")]
    pub size_rw: i64,
    /// Bytes with the image, if asked.
    #[serde(skip_serializing_if = "zero")]
    pub size_root_fs: i64,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `running`, …
    pub state: String,
    /// `Up 2 minutes`.
    pub status: String,
    /// Part of the host configuration.
    pub host_config: SummaryHostConfig,
    /// Networks.
    pub network_settings: SummaryNetworkSettings,
    /// Mounts.
    pub mounts: Vec<MountPoint>,
}

/// Host configuration in a row.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SummaryHostConfig {
    /// Network mode.
    #[serde(skip_serializing_if = "zero")]
    pub network_mode: String,
    /// Annotations.
    #[serde(skip_serializing_if = "zero")]
    pub annotations: BTreeMap<String, String>,
}

/// Networks in a row.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SummaryNetworkSettings {
    /// By name.
    pub networks: BTreeMap<String, EndpointSettings>,
}

/// A port in a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Port {
    /// Host address.
    #[serde(rename = "IP", skip_serializing_if = "zero")]
    pub ip: String,
    /// Port in the container.
    pub private_port: u16,
    /// Host port.
    #[serde(skip_serializing_if = "zero")]
    pub public_port: u16,
    /// `tcp`.
    #[serde(rename = "Type")]
    pub kind: String,
}

/// A mount as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct MountPoint {
    /// `bind`, `volume`, `tmpfs`, `image`.
    #[serde(rename = "Type", skip_serializing_if = "zero")]
    pub kind: String,
    /// Volume name.
    #[serde(skip_serializing_if = "zero")]
    pub name: String,
    /// Path on the host.
    pub source: String,
    /// Path in the container.
    pub destination: String,
    /// Volume driver.
    #[serde(skip_serializing_if = "zero")]
    pub driver: String,
    /// Mode column.
    pub mode: String,
    /// Writable.
    #[serde(rename = "RW")]
    pub rw: bool,
    /// Propagation.
    pub propagation: String,
}

/// `GET /containers/{id}/json`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerInspect {
    /// Id.
    pub id: String,
    /// RFC 3339.
    pub created: String,
    /// Program.
    pub path: String,
    /// The other arguments.
    pub args: Vec<String>,
    /// State.
    pub state: ContainerState,
    /// `sha256:…`.
    pub image: String,
    /// Host path.
    pub resolv_conf_path: String,
    /// Host path.
    pub hostname_path: String,
    /// Host path.
    pub hosts_path: String,
    /// Host path.
    pub log_path: String,
    /// Name with a leading slash.
    pub name: String,
    /// Restarts by policy.
    pub restart_count: u32,
    /// Storage driver.
    pub driver: String,
    /// `linux`.
    pub platform: String,
    /// SELinux.
    pub mount_label: String,
    /// SELinux.
    pub process_label: String,
    /// AppArmor profile.
    pub app_armor_profile: String,
    /// Running execs, `null` if none.
    #[serde(rename = "ExecIDs")]
    pub exec_ids: Option<Vec<String>>,
    /// Host configuration.
    pub host_config: HostConfig,
    /// Where its layers are.
    pub graph_driver: GraphDriver,
    /// Bytes of the writable layer, if asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<i64>,
    /// Bytes with the image, if asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_root_fs: Option<i64>,
    /// Mounts.
    pub mounts: Vec<MountPoint>,
    /// Portable configuration.
    pub config: Config,
    /// Networks.
    pub network_settings: NetworkSettings,
    /// The image's manifest (1.48).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_manifest_descriptor: Option<crate::image::Descriptor>,
}

/// State of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerState {
    /// `created`, `running`, `paused`, `restarting`, `removing`, `exited`, `dead`.
    pub status: String,
    /// Runs (also when paused or restarting).
    pub running: bool,
    /// Is paused.
    pub paused: bool,
    /// Waits for its next start.
    pub restarting: bool,
    /// The OOM killer ended it.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// Cannot be removed.
    pub dead: bool,
    /// Pid on the host.
    pub pid: u32,
    /// Exit code.
    pub exit_code: i32,
    /// Why the start failed.
    pub error: String,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub finished_at: String,
    /// Health, if it has a check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// Health of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Health {
    /// `starting`, `healthy`, `unhealthy`.
    pub status: String,
    /// Failures in a row.
    pub failing_streak: u32,
    /// Last results.
    pub log: Vec<HealthResult>,
}

/// Result of one probe.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HealthResult {
    /// RFC 3339.
    pub start: String,
    /// RFC 3339.
    pub end: String,
    /// Exit code.
    pub exit_code: i32,
    /// Output.
    pub output: String,
}

/// Where layers are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct GraphDriver {
    /// Facts of the driver, `null` if none.
    pub data: Option<BTreeMap<String, String>>,
    /// Name.
    pub name: String,
}

/// Networks of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkSettings {
    /// Older form.
    pub bridge: String,
    /// Sandbox id.
    #[serde(rename = "SandboxID")]
    pub sandbox_id: String,
    /// Path of the network namespace.
    pub sandbox_key: String,
    /// Exposed and published ports.
    pub ports: BTreeMap<String, Option<Vec<PortBinding>>>,
    /// Older form.
    pub hairpin_mode: bool,
    /// Older form.
    #[serde(rename = "LinkLocalIPv6Address")]
    pub link_local_ipv6_address: String,
    /// Older form.
    #[serde(rename = "LinkLocalIPv6PrefixLen")]
    pub link_local_ipv6_prefix_len: u8,
    /// Older form.
    #[serde(rename = "SecondaryIPAddresses")]
    pub secondary_ip_addresses: Option<Vec<Empty>>,
    /// Older form.
    #[serde(rename = "SecondaryIPv6Addresses")]
    pub secondary_ipv6_addresses: Option<Vec<Empty>>,
    /// Of the default bridge, older form, as the rest.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// Gateway.
    pub gateway: String,
    /// IPv6 address.
    #[serde(rename = "GlobalIPv6Address")]
    pub global_ipv6_address: String,
    /// Its prefix length.
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub global_ipv6_prefix_len: u8,
    /// IPv4 address.
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    /// Its prefix length.
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: u8,
    /// IPv6 gateway.
    #[serde(rename = "IPv6Gateway")]
    pub ipv6_gateway: String,
    /// Hardware address.
    pub mac_address: String,
    /// By name.
    pub networks: BTreeMap<String, EndpointSettings>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_a_list_or_one_string() {
        let read: Config = crate::from_slice(br#"{"Cmd":"echo hi","Entrypoint":["sh","-c"],"Shell":null}"#).unwrap();
        assert_eq!(read.cmd, Some(StrSlice(vec!["echo hi".into()])));
        assert_eq!(read.entrypoint, Some(StrSlice(vec!["sh".into(), "-c".into()])));
        assert_eq!(read.shell, None);
    }

    #[test]
    fn config_and_extras_are_read_from_one_object() {
        let body = br#"{"Image":"busybox","hostconfig":{"BINDS":["/a:/b"],"Memory":4194304,"BlkioDeviceReadIOps":
            [{"Path":"/dev/sda","Rate":5}]},"NetworkingConfig":{"EndpointsConfig":{"default":null}}}"#;
        let extras: CreateExtras = crate::from_slice(body).unwrap();
        assert_eq!(extras.host_config.binds.as_deref(), Some(&["/a:/b".to_owned()][..]));
        assert_eq!(extras.host_config.blkio_device_read_iops.unwrap()[0].rate, 5);
        assert!(extras.networking_config.endpoints_config.contains_key("default"));
        assert_eq!(crate::from_slice::<Config>(body).unwrap().image, "busybox");
    }

    #[test]
    fn unset_lists_are_null_as_moby_prints_them() {
        let text = serde_json::to_string(&HostConfig::default()).unwrap();
        assert!(
            text.starts_with(r#"{"Binds":null,"ContainerIDFile":"","LogConfig":{"Type":"","Config":{}},"#),
            "{text}"
        );
        assert!(text.contains(r#""CapAdd":null"#) && !text.contains("Sysctls") && !text.contains(r#""Mounts""#));
    }
}
