//! What of the networks can be configured, with every limit.

use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use crate::config::PodNetworkMode;

/// A range that subnets of new networks are cut from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressPool {
    /// The whole range.
    pub base: IpNet,
    /// Prefix length of each subnet cut from it.
    pub size: u8,
}

/// Configuration of [`super::Networks`]. Several daemons on one host differ in `table` and `bridge`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkConfig {
    /// Name of the one nftables table (family `inet`) that this daemon owns.
    pub table: String,
    /// Have the kernel refuse other programs' changes of the table (kernels from 6.9): a reloaded firewall that flushes
    /// everything leaves it alone. Elsewhere, and when off, the table is put back when it was changed.
    pub table_owner: bool,
    /// Interface name of the default network `bridge`.
    pub bridge: String,
    /// Subnet of the default network; chosen from `pools` when absent.
    pub bridge_subnet: Option<Ipv4Net>,
    /// Ranges for subnets, tried in order; those that overlap a route of the host are passed over.
    pub pools: Vec<AddressPool>,
    /// Maximum transmission unit of bridges and endpoints in bytes; the kernel's default when absent.
    pub mtu: Option<u32>,
    /// Whether outbound forwarding may be switched on (`net.ipv4.ip_forward`, `net.ipv6.conf.all.forwarding`).
    pub ip_forward: bool,
    /// Prepared network namespaces kept ready.
    pub netns_pool_size: usize,
    /// Whether the daemon itself serves what rules cannot of published ports: `::1`, and a port of one address family in
    /// front of a sandbox that has only the other.
    pub loopback_proxy: bool,
    /// Connections and datagram sessions that this proxy holds at once, over all ports.
    pub proxy_sessions_max: usize,
    /// Published ports that one sandbox may ask for.
    pub ports_per_sandbox_max: usize,
    /// Where pods get their network.
    pub pod_network: PodNetworkMode,
    /// Directory of CNI configuration lists.
    pub cni_conf_dir: PathBuf,
    /// Directories of CNI plugins, searched in order.
    pub cni_bin_dirs: Vec<PathBuf>,
    /// Where results of CNI ADD are kept for DEL.
    pub cni_cache_dir: PathBuf,
    /// Longest time for one CNI plugin, in milliseconds.
    pub cni_timeout_ms: u64,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            table: "gantry".into(),
            table_owner: true,
            bridge: "gantry0".into(),
            bridge_subnet: None,
            pools: default_pools(),
            mtu: None,
            ip_forward: true,
            netns_pool_size: 4,
            loopback_proxy: true,
            proxy_sessions_max: 4096,
            ports_per_sandbox_max: 65_536,
            pod_network: PodNetworkMode::default(),
            cni_conf_dir: "/etc/cni/net.d".into(),
            cni_bin_dirs: vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()],
            cni_cache_dir: "/var/lib/cni/results".into(),
            cni_timeout_ms: 30_000,
        }
    }
}

/// Docker's own ranges first, so that what people see is what they know; then a wide one, so that the 32nd network
/// finds a place too.
fn default_pools() -> Vec<AddressPool> {
    let v4 = |a: [u8; 4], prefix: u8| {
        #[expect(clippy::expect_used, reason = "prefix lengths below are constants of at most 32")]
        IpNet::V4(Ipv4Net::new(a.into(), prefix).expect("constant prefix"))
    };
    let mut pools: Vec<AddressPool> =
        (17..=31).map(|second| AddressPool { base: v4([172, second, 0, 0], 16), size: 16 }).collect();
    pools.push(AddressPool { base: v4([192, 168, 0, 0], 16), size: 20 });
    pools.push(AddressPool { base: v4([10, 192, 0, 0], 10), size: 24 });
    pools
}
