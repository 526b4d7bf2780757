//! `/networks`, and the endpoint settings that containers carry.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Empty;
use crate::skip::zero;

/// A container's place in a network: asked in create and connect, answered in inspect.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct EndpointSettings {
    /// Wanted addresses.
    #[serde(rename = "IPAMConfig")]
    pub ipam_config: Option<EndpointIpam>,
    /// Links, older form.
    pub links: Option<Vec<String>>,
    /// Further names.
    pub aliases: Option<Vec<String>>,
    /// Hardware address.
    pub mac_address: String,
    /// Driver options.
    pub driver_opts: Option<BTreeMap<String, String>>,
    /// Which endpoint has the default route (1.48).
    pub gw_priority: i64,
    /// Network id.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// Endpoint id.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// IPv4 gateway.
    pub gateway: String,
    /// IPv4 address.
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    /// IPv4 prefix length.
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: u8,
    /// IPv6 gateway.
    #[serde(rename = "IPv6Gateway")]
    pub ipv6_gateway: String,
    /// IPv6 address.
    #[serde(rename = "GlobalIPv6Address")]
    pub global_ipv6_address: String,
    /// IPv6 prefix length.
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub global_ipv6_prefix_len: u8,
    /// Names in the network's DNS.
    #[serde(rename = "DNSNames")]
    pub dns_names: Option<Vec<String>>,
}

/// Wanted addresses of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointIpam {
    /// IPv4.
    #[serde(rename = "IPv4Address", skip_serializing_if = "zero")]
    pub ipv4_address: String,
    /// IPv6.
    #[serde(rename = "IPv6Address", skip_serializing_if = "zero")]
    pub ipv6_address: String,
    /// Link-local addresses.
    #[serde(rename = "LinkLocalIPs", skip_serializing_if = "zero")]
    pub link_local_ips: Vec<String>,
}

/// The networks of a create request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkingConfig {
    /// By network name or id; a `null` value is an endpoint with nothing wanted.
    pub endpoints_config: BTreeMap<String, Option<EndpointSettings>>,
}

/// Address management of a network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Ipam {
    /// `default`.
    pub driver: String,
    /// Options, `null` if none were given.
    pub options: Option<BTreeMap<String, String>>,
    /// Ranges.
    pub config: Option<Vec<IpamConfig>>,
}

/// One address range.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IpamConfig {
    /// `172.18.0.0/16`.
    #[serde(skip_serializing_if = "zero")]
    pub subnet: String,
    /// Part of it to give addresses from.
    #[serde(rename = "IPRange", skip_serializing_if = "zero")]
    pub ip_range: String,
    /// The bridge's own address.
    #[serde(skip_serializing_if = "zero")]
    pub gateway: String,
    /// Addresses never given out.
    #[serde(rename = "AuxiliaryAddresses", skip_serializing_if = "zero")]
    pub aux_addresses: BTreeMap<String, String>,
}

/// Reference to a configuration-only network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ConfigReference {
    /// Its name.
    pub network: String,
}

/// Body of network create.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkCreate {
    /// Older clients ask to be told of a name that is taken.
    #[serde(skip_serializing_if = "zero")]
    pub check_duplicate: bool,
    /// Name.
    pub name: String,
    /// Driver, empty = bridge.
    pub driver: String,
    /// `local`, `swarm` or empty.
    pub scope: String,
    /// IPv4 (1.48); `null` = yes.
    #[serde(rename = "EnableIPv4", skip_serializing_if = "Option::is_none")]
    pub enable_ipv4: Option<bool>,
    /// IPv6.
    #[serde(rename = "EnableIPv6", skip_serializing_if = "Option::is_none")]
    pub enable_ipv6: Option<bool>,
    /// Addresses.
    #[serde(rename = "IPAM")]
    pub ipam: Option<Ipam>,
    /// No way out.
    pub internal: bool,
    /// Swarm.
    pub attachable: bool,
    /// Swarm.
    pub ingress: bool,
    /// A configuration only.
    pub config_only: bool,
    /// Take the configuration of another.
    pub config_from: Option<ConfigReference>,
    /// Driver options.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// Answer of network create.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkCreated {
    /// Its id.
    pub id: String,
    /// Things to know.
    pub warning: String,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Network {
    /// Name.
    pub name: String,
    /// Id.
    pub id: String,
    /// RFC 3339.
    pub created: String,
    /// `local`.
    pub scope: String,
    /// Driver.
    pub driver: String,
    /// IPv4.
    #[serde(rename = "EnableIPv4")]
    pub enable_ipv4: bool,
    /// IPv6.
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: bool,
    /// Addresses.
    #[serde(rename = "IPAM")]
    pub ipam: Ipam,
    /// No way out.
    pub internal: bool,
    /// Swarm.
    pub attachable: bool,
    /// Swarm.
    pub ingress: bool,
    /// Configuration it was made from.
    pub config_from: ConfigReference,
    /// A configuration only.
    pub config_only: bool,
    /// Containers in it by id; only in inspect.
    pub containers: BTreeMap<String, NetworkContainer>,
    /// Driver options.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A container in a network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkContainer {
    /// Container name.
    pub name: String,
    /// Endpoint id.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// Hardware address.
    pub mac_address: String,
    /// `172.17.0.2/16`.
    #[serde(rename = "IPv4Address")]
    pub ipv4_address: String,
    /// With prefix length.
    #[serde(rename = "IPv6Address")]
    pub ipv6_address: String,
}

/// Body of network connect.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkConnect {
    /// Container name or id.
    pub container: String,
    /// What is wanted.
    pub endpoint_config: Option<EndpointSettings>,
}

/// Body of network disconnect.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkDisconnect {
    /// Container name or id.
    pub container: String,
    /// Even if it cannot be found.
    pub force: bool,
}

/// Answer of network prune.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkPrune {
    /// Names.
    pub networks_deleted: Option<Vec<String>>,
}

/// `map[port]struct{}`.
pub type PortSet = BTreeMap<String, Empty>;
