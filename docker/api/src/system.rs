//! `/version`, `/info`, `/auth`, `/system/df`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::container::ContainerSummary;
use crate::image::ImageSummary;
use crate::skip::zero;
use crate::volume::Volume;

/// `GET /version`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Version {
    /// Product.
    pub platform: PlatformName,
    /// Parts.
    pub components: Vec<Component>,
    /// Version.
    pub version: String,
    /// API version.
    pub api_version: String,
    /// Oldest API version.
    #[serde(rename = "MinAPIVersion")]
    pub min_api_version: String,
    /// Commit.
    pub git_commit: String,
    /// Compiler.
    pub go_version: String,
    /// `linux`.
    pub os: String,
    /// `amd64`.
    pub arch: String,
    /// `uname -r`.
    pub kernel_version: String,
    /// RFC 3339.
    #[serde(skip_serializing_if = "zero")]
    pub build_time: String,
}

/// A product's name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PlatformName {
    /// Name.
    pub name: String,
}

/// A part of the product.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Component {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Facts.
    pub details: BTreeMap<String, String>,
}

/// `GET /info`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Info {
    /// Daemon id.
    #[serde(rename = "ID")]
    pub id: String,
    /// All containers.
    pub containers: usize,
    /// Of them running.
    pub containers_running: usize,
    /// Of them paused.
    pub containers_paused: usize,
    /// Of them stopped.
    pub containers_stopped: usize,
    /// Images.
    pub images: usize,
    /// Storage driver.
    pub driver: String,
    /// Its facts.
    pub driver_status: Vec<(String, String)>,
    /// Drivers.
    pub plugins: Plugins,
    /// cgroup has it.
    pub memory_limit: bool,
    /// cgroup has it.
    pub swap_limit: bool,
    /// cgroup has it.
    #[serde(rename = "KernelMemoryTCP", skip_serializing_if = "zero")]
    pub kernel_memory_tcp: bool,
    /// cgroup has it.
    pub cpu_cfs_period: bool,
    /// cgroup has it.
    pub cpu_cfs_quota: bool,
    /// cgroup has it.
    #[serde(rename = "CPUShares")]
    pub cpu_shares: bool,
    /// cgroup has it.
    #[serde(rename = "CPUSet")]
    pub cpu_set: bool,
    /// cgroup has it.
    pub pids_limit: bool,
    /// Kernel has it.
    #[serde(rename = "IPv4Forwarding")]
    pub ipv4_forwarding: bool,
    /// Debug mode.
    pub debug: bool,
    /// Open descriptors.
    #[serde(rename = "NFd")]
    pub n_fd: usize,
    /// cgroup has it.
    pub oom_kill_disable: bool,
    /// Tasks.
    pub n_goroutines: usize,
    /// RFC 3339.
    pub system_time: String,
    /// Default logging driver.
    pub logging_driver: String,
    /// `cgroupfs` or `systemd`.
    pub cgroup_driver: String,
    /// `1` or `2`.
    #[serde(skip_serializing_if = "zero")]
    pub cgroup_version: String,
    /// Followers of events.
    pub n_events_listener: usize,
    /// `uname -r`.
    pub kernel_version: String,
    /// os-release.
    pub operating_system: String,
    /// os-release.
    #[serde(rename = "OSVersion")]
    pub os_version: String,
    /// `linux`.
    #[serde(rename = "OSType")]
    pub os_type: String,
    /// `x86_64`.
    pub architecture: String,
    /// Where images are looked for first.
    pub index_server_address: String,
    /// Registries.
    pub registry_config: RegistryConfig,
    /// CPUs.
    #[serde(rename = "NCPU")]
    pub n_cpu: usize,
    /// Bytes.
    pub mem_total: u64,
    /// Swarm, always `null`.
    pub generic_resources: Option<Vec<crate::Empty>>,
    /// State directory.
    pub docker_root_dir: String,
    /// Proxy.
    pub http_proxy: String,
    /// Proxy.
    pub https_proxy: String,
    /// Proxy.
    pub no_proxy: String,
    /// Hostname.
    pub name: String,
    /// Labels of the engine.
    pub labels: Vec<String>,
    /// Experimental features.
    pub experimental_build: bool,
    /// Version.
    pub server_version: String,
    /// By name.
    pub runtimes: BTreeMap<String, Runtime>,
    /// Name.
    pub default_runtime: String,
    /// Swarm.
    pub swarm: Swarm,
    /// Containers outlive the daemon.
    pub live_restore_enabled: bool,
    /// Windows.
    pub isolation: String,
    /// Name of the init.
    pub init_binary: String,
    /// Commit of containerd.
    pub containerd_commit: Commit,
    /// Commit of runc.
    pub runc_commit: Commit,
    /// Commit of the init.
    pub init_commit: Commit,
    /// `name=seccomp,profile=builtin`.
    pub security_options: Vec<String>,
    /// Subnets of networks.
    #[serde(skip_serializing_if = "zero")]
    pub default_address_pools: Vec<AddressPool>,
    /// Directories of CDI specs.
    #[serde(rename = "CDISpecDirs")]
    pub cdi_spec_dirs: Vec<String>,
    /// Things to know.
    pub warnings: Option<Vec<String>>,
}

/// Drivers by kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Plugins {
    /// Volume drivers.
    pub volume: Vec<String>,
    /// Network drivers.
    pub network: Vec<String>,
    /// Authorization plugins.
    pub authorization: Option<Vec<String>>,
    /// Logging drivers.
    pub log: Vec<String>,
}

/// Registries.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RegistryConfig {
    /// Insecure ranges.
    #[serde(rename = "InsecureRegistryCIDRs")]
    pub insecure_registry_cidrs: Vec<String>,
    /// By name.
    pub index_configs: BTreeMap<String, IndexConfig>,
    /// Mirrors of docker.io.
    pub mirrors: Option<Vec<String>>,
}

/// One registry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IndexConfig {
    /// Name.
    pub name: String,
    /// Mirrors.
    pub mirrors: Vec<String>,
    /// HTTPS with a known certificate.
    pub secure: bool,
    /// docker.io.
    pub official: bool,
}

/// A runtime handler.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Runtime {
    /// Path of its binary.
    #[serde(skip_serializing_if = "zero")]
    pub path: String,
    /// containerd shim.
    #[serde(rename = "runtimeType", skip_serializing_if = "zero")]
    pub runtime_type: String,
}

/// Swarm: this engine is never in one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Swarm {
    /// Always empty.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// Always empty.
    pub node_addr: String,
    /// `inactive`.
    pub local_node_state: String,
    /// Always false.
    pub control_available: bool,
    /// Always empty.
    pub error: String,
    /// Always `null`.
    pub remote_managers: Option<Vec<crate::Empty>>,
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Commit {
    /// Hash or version.
    #[serde(rename = "ID")]
    pub id: String,
}

/// A pool of subnets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AddressPool {
    /// Whole range.
    pub base: String,
    /// Prefix length of each subnet.
    pub size: u8,
}

/// Body of `POST /auth`, and what `X-Registry-Auth` holds.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthConfig {
    /// User.
    #[serde(skip_serializing_if = "zero")]
    pub username: String,
    /// Password.
    #[serde(skip_serializing_if = "zero")]
    pub password: String,
    /// base64 of `user:password`.
    #[serde(skip_serializing_if = "zero")]
    pub auth: String,
    /// Not used.
    #[serde(skip_serializing_if = "zero")]
    pub email: String,
    /// Registry.
    #[serde(skip_serializing_if = "zero")]
    pub serveraddress: String,
    /// Refresh token.
    #[serde(skip_serializing_if = "zero")]
    pub identitytoken: String,
    /// Bearer token.
    #[serde(skip_serializing_if = "zero")]
    pub registrytoken: String,
}

impl std::fmt::Debug for AuthConfig {
    /// Shows no secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthConfig").field("serveraddress", &self.serveraddress).finish_non_exhaustive()
    }
}

/// Answer of `POST /auth`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AuthResponse {
    /// A token in place of the password, if the registry gave one.
    pub identity_token: String,
    /// `Login Succeeded`.
    pub status: String,
}

/// `GET /system/df`, the shape before 1.52.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DiskUsage {
    /// Bytes of all layers.
    pub layers_size: i64,
    /// Images, `null` when not asked for.
    pub images: Option<Vec<ImageSummary>>,
    /// Containers.
    pub containers: Option<Vec<ContainerSummary>>,
    /// Volumes.
    pub volumes: Option<Vec<Volume>>,
    /// Build cache.
    pub build_cache: Option<Vec<crate::build::BuildCache>>,
}

/// Something that exists and that no record owns. Gantry's own; dockerd has no such thing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Leak {
    /// `shim`, `writable layer`, `directory`, `cgroup`, `interface`, `CNI attachment` or `sandbox`.
    pub kind: String,
    /// Its id, name or path.
    pub name: String,
    /// What is known of it, in words.
    pub detail: String,
}
