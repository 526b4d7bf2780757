//! What the networks answer: snapshots that never wait for the kernel or the disk.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{Ipv4Net, Ipv6Net};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{EndpointId, NetworkId, Owner, SandboxId};
use crate::network::spec::{IpamPool, Protocol};

/// A network as it is now.
#[derive(Debug, Clone)]
pub struct NetworkView {
    /// Its id.
    pub id: NetworkId,
    /// Its name.
    pub name: String,
    /// `bridge`, `host` or `null` (the network `none`).
    pub driver: String,
    /// Who made it.
    pub owner: Owner,
    /// When.
    pub created: Timestamp,
    /// Made by the engine itself: cannot be removed.
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
    /// Address ranges as they are in force: subnet and gateway always set.
    pub ipam: Vec<IpamPool>,
    /// As asked.
    pub ipam_options: BTreeMap<String, String>,
    /// As asked, with what the engine filled in.
    pub options: BTreeMap<String, String>,
    /// As asked.
    pub labels: BTreeMap<String, String>,
    /// The bridge's interface name on the host, if it has one.
    pub bridge: Option<String>,
    /// Who is in it.
    pub endpoints: Vec<Arc<EndpointView>>,
}

/// A sandbox's place in a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointView {
    /// Its id.
    pub id: EndpointId,
    /// The network's id.
    pub network_id: NetworkId,
    /// The network's name.
    pub network: String,
    /// Whose place it is.
    pub sandbox: SandboxId,
    /// Address and prefix length.
    pub ipv4: Option<Ipv4Net>,
    /// Address and prefix length.
    pub ipv6: Option<Ipv6Net>,
    /// Next hop of the default route, where this endpoint can provide one.
    pub gateway_v4: Option<Ipv4Addr>,
    /// Next hop of the IPv6 default route.
    pub gateway_v6: Option<Ipv6Addr>,
    /// This endpoint has the sandbox's default route of IPv4.
    pub default_route: bool,
    /// This endpoint has the sandbox's default route of IPv6.
    pub default_route_v6: bool,
    /// As asked.
    pub gateway_priority: i64,
    /// Hardware address.
    pub mac: [u8; 6],
    /// Interface name in the sandbox.
    pub interface: String,
    /// Interface name on the host.
    pub host_interface: String,
    /// The sandbox's name, if it was given one.
    pub name: Option<String>,
    /// Its further names.
    pub aliases: Vec<String>,
    /// Names that only this sandbox resolves here, with the names that others have: (theirs, here).
    pub links: Vec<(String, String)>,
}

/// A container port as it is published.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The port in the sandbox.
    pub container_port: u16,
    /// The transport.
    pub protocol: Protocol,
    /// The host's address; unspecified (`0.0.0.0`, `::`) is all of them.
    pub host_ip: IpAddr,
    /// The host's port.
    pub host_port: u16,
}

/// How names are resolved in a sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsView {
    /// The resolver to name in `resolv.conf`; when absent the host's own are copied.
    pub resolver: Option<IpAddr>,
    /// It is the engine's own, which serves the names of containers and forwards the rest itself.
    pub embedded: bool,
}

/// What [`super::Networks::connect`] made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attachment {
    /// One per wish, in the order asked.
    pub endpoints: Vec<Arc<EndpointView>>,
    /// Published ports, those of both families.
    pub ports: Vec<PublishedPort>,
    /// Name resolution.
    pub dns: DnsView,
}
