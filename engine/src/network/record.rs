//! What is stored of networks and endpoints.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::{Ipv4Net, Ipv6Net};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{EndpointId, NetworkId, Owner, SandboxId};
use crate::network::spec::IpamPool;
use crate::network::view::PublishedPort;

/// Version of the records below.
pub(super) const RECORD_VERSION: u32 = 1;

/// A stored network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// [`RECORD_VERSION`] when it was written.
    pub v: u32,
    /// Its id.
    pub id: NetworkId,
    /// Its name.
    pub name: String,
    /// `bridge`, `host` or `null`.
    pub driver: String,
    /// Who made it.
    pub owner: Owner,
    /// When.
    pub created: Timestamp,
    /// Made by the engine itself.
    pub predefined: bool,
    /// No way out and no way in.
    pub internal: bool,
    /// As asked.
    pub attachable: bool,
    /// Endpoints have IPv4 addresses.
    pub enable_ipv4: bool,
    /// Endpoints have IPv6 addresses.
    pub enable_ipv6: bool,
    /// As asked.
    pub ipam_driver: String,
    /// Subnet and gateway are always set here.
    pub ipam: Vec<IpamPool>,
    /// As asked.
    pub ipam_options: BTreeMap<String, String>,
    /// As asked.
    pub options: BTreeMap<String, String>,
    /// As asked.
    pub labels: BTreeMap<String, String>,
    /// The bridge's interface name, if it has one.
    pub bridge: Option<String>,
}

impl NetworkRecord {
    /// Whether sandboxes in it find each other by name: not in the default bridge, as with Docker.
    pub(super) fn has_names(&self) -> bool {
        !self.predefined
    }
}

/// A stored endpoint. It is written, with its addresses, before the kernel knows of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRecord {
    /// [`RECORD_VERSION`] when it was written.
    pub v: u32,
    /// Its id.
    pub id: EndpointId,
    /// Its network.
    pub network_id: NetworkId,
    /// Whose place it is.
    pub sandbox: SandboxId,
    /// Address and prefix length.
    pub ipv4: Option<Ipv4Net>,
    /// Address and prefix length.
    pub ipv6: Option<Ipv6Net>,
    /// Hardware address.
    pub mac: [u8; 6],
    /// Interface name in the sandbox.
    pub interface: String,
    /// Interface name on the host.
    pub host_interface: String,
    /// It has the sandbox's default route of IPv4 (of both families in records of before there was another field).
    pub default_route: bool,
    /// It has the sandbox's default route of IPv6.
    #[serde(default)]
    pub default_route_v6: bool,
    /// Which endpoint has the default routes: the highest wins.
    #[serde(default)]
    pub gateway_priority: i64,
    /// The sandbox's name in this network.
    pub name: Option<String>,
    /// Further names.
    pub aliases: Vec<String>,
    /// Names that only this sandbox resolves here, with the names that others have: (theirs, here).
    #[serde(default)]
    pub links: Vec<(String, String)>,
    /// Ports published through this endpoint's addresses.
    pub ports: Vec<PublishedPort>,
}

impl EndpointRecord {
    /// Its addresses, as they are leased.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.ipv4.map(|net| IpAddr::V4(net.addr()));
        v4.into_iter().chain(self.ipv6.map(|net| IpAddr::V6(net.addr())))
    }
}
