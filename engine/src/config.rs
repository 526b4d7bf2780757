//! Every path, limit and deadline of the engine, typed. There are no defaults hidden elsewhere.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Directories of CDI files; of two that know a device, the later one holds.
pub(crate) const CDI_DIRS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// The engine's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineConfig {
    /// Durable state.
    pub root: PathBuf,
    /// Bundles, sockets and exit records: lost at reboot, rightly.
    pub run: PathBuf,
    /// The shim binary.
    pub shim: PathBuf,
    /// cgroupfs or systemd.
    pub cgroup_driver: CgroupDriver,
    /// Parent of docker containers' cgroups and of sandboxes without one: `/gantry` or `system.slice`.
    pub cgroup_parent: String,
    /// Name of the runtime handler used when none is asked for.
    pub default_runtime: String,
    /// Runtime handlers by name.
    pub runtimes: BTreeMap<String, RuntimeConfig>,
    /// Images.
    pub images: ImagesConfig,
    /// Networks.
    pub network: NetworkConfig,
    /// Limits and deadlines.
    pub limits: Limits,
}

impl EngineConfig {
    /// What the image part is told of it.
    pub(crate) fn image_settings(&self) -> crate::image::ImageSettings {
        let images = &self.images;
        let mut settings = crate::image::ImageSettings::under(&self.root);
        settings.hosts_dir = Some(images.hosts_dir.clone()).filter(|dir| !dir.as_os_str().is_empty());
        if !images.registry_mirrors.is_empty() {
            settings.registry_mirrors = [("docker.io".to_owned(), images.registry_mirrors.clone())].into();
        }
        settings.insecure_registries = images.insecure_registries.clone();
        settings.layers_parallel_max = images.downloads_max;
        settings.flights_max = images.unpacks_max.max(images.downloads_max);
        settings
    }
    /// What the network part is told of it.
    ///
    /// # Errors
    /// `InvalidArgument` for a subnet or a pool.
    pub(crate) fn network_settings(&self) -> crate::Result<crate::network::NetworkConfig> {
        let network = &self.network;
        let wrong =
            |field: &str, text: &str| crate::Error::invalid(format!("network.{field}: {text:?} is not a subnet"));
        let mut settings = crate::network::NetworkConfig {
            table: network.table.clone(),
            table_owner: network.table_owner,
            mtu: Some(network.mtu).filter(|mtu| *mtu != 0),
            proxy_sessions_max: network.proxy_sessions_max,
            ports_per_sandbox_max: network.ports_per_container_max,
            bridge: network.bridge_name.clone(),
            netns_pool_size: network.netns_pool,
            pod_network: network.pod_network,
            cni_conf_dir: network.cni_conf_dir.clone(),
            cni_bin_dirs: network.cni_bin_dirs.clone(),
            cni_cache_dir: self.root.join("cni"),
            cni_timeout_ms: network.cni_timeout_ms,
            ..Default::default()
        };
        if !network.bridge_subnet.is_empty() {
            let subnet = network.bridge_subnet.parse().map_err(|_| wrong("bridge_subnet", &network.bridge_subnet))?;
            settings.bridge_subnet = Some(subnet);
        }
        if network.pools != NetworkConfig::default().pools {
            let pool = |text: &String| {
                let (base, size) = text.rsplit_once('/')?;
                Some(crate::network::AddressPool { base: base.parse().ok()?, size: size.parse().ok()? })
            };
            let pools = network.pools.iter().map(|text| pool(text).ok_or_else(|| wrong("pools", text)));
            settings.pools = pools.collect::<crate::Result<_>>()?;
        }
        Ok(settings)
    }
}

/// Who makes cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupDriver {
    /// The engine writes to the file system.
    #[default]
    Cgroupfs,
    /// systemd makes scopes.
    Systemd,
}

/// A runtime handler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum RuntimeConfig {
    /// The shim's own runtime.
    Builtin,
    /// An OCI runtime such as runc or crun, run by our shim.
    Oci {
        /// Its path.
        path: PathBuf,
    },
    /// Another containerd shim v2 binary: it makes the processes, our shim keeps the pod, the streams and the log.
    Shim {
        /// Its path.
        path: PathBuf,
        /// A configuration file in that shim's own format, as `ConfigPath` of containerd's options.
        #[serde(default)]
        config: Option<PathBuf>,
    },
}

/// Images and registries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImagesConfig {
    /// Directory with `<registry>/hosts.toml`.
    pub hosts_dir: PathBuf,
    /// Mirrors of docker.io, tried first.
    pub registry_mirrors: Vec<String>,
    /// Registries (host[:port]) that may be spoken to over plain HTTP or with an unknown certificate. Loopback always may.
    pub insecure_registries: Vec<String>,
    /// Layers downloaded at once, over all pulls.
    pub downloads_max: usize,
    /// Layers unpacked at once, over all pulls.
    pub unpacks_max: usize,
    /// An archive that is loaded at the first start and pinned; empty = none.
    pub embedded_image: PathBuf,
}

impl Default for ImagesConfig {
    fn default() -> Self {
        Self {
            hosts_dir: "/etc/gantry/certs.d".into(),
            registry_mirrors: Vec::new(),
            insecure_registries: Vec::new(),
            downloads_max: 3,
            unpacks_max: 4,
            embedded_image: PathBuf::new(),
        }
    }
}

/// Networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkConfig {
    /// Interface of the default bridge.
    pub bridge_name: String,
    /// Subnet of the default bridge; empty = the first of `pools` that no host route uses.
    pub bridge_subnet: String,
    /// `base/size` pools that networks without a subnet take theirs from: `172.17.0.0/12/16` = /16 pieces of a /12.
    pub pools: Vec<String>,
    /// Our nftables table.
    pub table: String,
    /// Have the kernel refuse other programs' changes of it, where it can (6.9); else it is put back after them.
    pub table_owner: bool,
    /// Maximum transmission unit of networks in bytes; 0 = the kernel's default.
    pub mtu: u32,
    /// Connections that the daemon itself carries at once for published ports that no rule can serve.
    pub proxy_sessions_max: usize,
    /// Published ports that one container may ask for.
    pub ports_per_container_max: usize,
    /// Prepared network namespaces kept at hand.
    pub netns_pool: usize,
    /// Where pods get their network.
    pub pod_network: PodNetworkMode,
    /// CNI configuration: its lexically first `.conf`, `.conflist` or `.json` file counts.
    pub cni_conf_dir: PathBuf,
    /// CNI plugins, searched in order.
    pub cni_bin_dirs: Vec<PathBuf>,
    /// Longest time for one call of one CNI plugin; then it is killed.
    pub cni_timeout_ms: u64,
}

/// Where pods get their network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PodNetworkMode {
    /// From CNI plugins when there is a configuration of them, else from the built-in bridge.
    #[default]
    Auto,
    /// From CNI plugins only: without a configuration the network is not ready. For nodes whose plugin is installed by
    /// the cluster itself.
    Cni,
    /// From the built-in bridge, whatever is configured.
    Builtin,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            bridge_name: "gantry0".into(),
            bridge_subnet: String::new(),
            pools: [
                "172.17.0.0/16/16",
                "172.18.0.0/16/16",
                "172.19.0.0/16/16",
                "172.20.0.0/14/16",
                "172.24.0.0/14/16",
                "172.28.0.0/14/16",
                "192.168.0.0/16/20",
            ]
            .map(String::from)
            .to_vec(),
            table: "gantry".into(),
            table_owner: true,
            mtu: 0,
            proxy_sessions_max: 4096,
            ports_per_container_max: 65_536,
            netns_pool: 4,
            pod_network: PodNetworkMode::Auto,
            cni_conf_dir: "/etc/cni/net.d".into(),
            cni_bin_dirs: vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()],
            cni_timeout_ms: 30_000,
        }
    }
}

/// Limits and deadlines. Durations are written in TOML as milliseconds, sizes as bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// For a shim to answer its first call.
    pub shim_start_ms_max: u64,
    /// For any call to a shim that has no longer deadline of its own.
    pub shim_call_ms_max: u64,
    /// Calls waiting in one object's mailbox.
    pub mailbox_len_max: usize,
    /// Events kept for replay.
    pub events_kept_max: usize,
    /// Bytes of each output stream that ExecSync keeps (CRI: 16 MiB).
    pub exec_sync_bytes_max: usize,
    /// Time that an exec's record is kept after its end.
    pub exec_kept_ms: u64,
    /// Time that a stopped container's grace may last at most.
    pub stop_grace_ms_max: u64,
    /// Bytes of results that builds keep for later ones; those used longest ago go first.
    pub build_cache_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            shim_start_ms_max: 10_000,
            shim_call_ms_max: 30_000,
            mailbox_len_max: 64,
            events_kept_max: 4096,
            exec_sync_bytes_max: 16 << 20,
            exec_kept_ms: 300_000,
            stop_grace_ms_max: 24 * 3600 * 1000,
            build_cache_bytes_max: 50 << 30,
        }
    }
}

impl Limits {
    /// `shim_start_ms_max` as a duration.
    pub fn shim_start(&self) -> Duration {
        Duration::from_millis(self.shim_start_ms_max)
    }
    /// `stop_grace_ms_max` as a duration.
    pub fn stop_grace(&self) -> Duration {
        Duration::from_millis(self.stop_grace_ms_max)
    }
    /// `shim_call_ms_max` as a duration.
    pub fn shim_call(&self) -> Duration {
        Duration::from_millis(self.shim_call_ms_max)
    }
}
