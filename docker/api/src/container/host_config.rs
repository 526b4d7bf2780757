//! What a container is asked to have of its host: resources, mounts, ports, rights (`HostConfig`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::StrSlice;
use crate::Empty;
use crate::skip::zero;

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
