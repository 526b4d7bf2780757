//! What a caller asks of the networks.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::Owner;

/// One address range of a network, as asked or as chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpamPool {
    /// The subnet; chosen from the configured pools when absent.
    pub subnet: Option<IpNet>,
    /// The part of the subnet that addresses are given from; the whole subnet when absent.
    pub ip_range: Option<IpNet>,
    /// The bridge's own address; the first of the subnet when absent.
    pub gateway: Option<IpAddr>,
    /// Addresses that are never given out, by name.
    #[serde(default)]
    pub aux_addresses: BTreeMap<String, IpAddr>,
}

/// A network to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSpec {
    /// Its name, unique.
    pub name: String,
    /// `bridge`; others are refused by name.
    pub driver: String,
    /// Which door asks.
    pub owner: Owner,
    /// No way out and no way in: sandboxes in it see only each other.
    pub internal: bool,
    /// Kept for Docker's answers; every sandbox of this host may join anyway.
    pub attachable: bool,
    /// Endpoints have an IPv4 address.
    pub enable_ipv4: bool,
    /// Endpoints have an IPv6 address.
    pub enable_ipv6: bool,
    /// `default`; others are refused by name.
    pub ipam_driver: String,
    /// Address ranges asked for: at most one per family.
    pub ipam: Vec<IpamPool>,
    /// Options of the IPAM driver, kept.
    pub ipam_options: BTreeMap<String, String>,
    /// Options of the driver (`com.docker.network.bridge.name`, …).
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

impl NetworkSpec {
    /// A bridge network named `name` with everything else as by default.
    pub fn bridge(name: impl Into<String>, owner: Owner) -> Self {
        Self {
            name: name.into(),
            driver: "bridge".into(),
            owner,
            internal: false,
            attachable: false,
            enable_ipv4: true,
            enable_ipv6: false,
            ipam_driver: "default".into(),
            ipam: Vec::new(),
            ipam_options: BTreeMap::new(),
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
        }
    }
}

/// A sandbox's wish to be in a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSpec {
    /// Name or id of the network.
    pub network: String,
    /// The name that the sandbox is known by: first of its names in this network.
    pub name: Option<String>,
    /// Further names.
    pub aliases: Vec<String>,
    /// Names that only this sandbox resolves here, with the names that others have: (theirs, here).
    #[serde(default)]
    pub links: Vec<(String, String)>,
    /// A fixed IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// A fixed IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// A fixed hardware address; derived from the IPv4 address when absent.
    pub mac: Option<[u8; 6]>,
    /// Interface name in the sandbox; `eth<n>` when absent.
    pub interface: Option<String>,
    /// Which endpoint has the default route: the highest wins, then the first asked for.
    pub gateway_priority: i64,
}

impl EndpointSpec {
    /// A wish for a place in `network` with nothing fixed.
    pub fn new(network: impl Into<String>) -> Self {
        Self { network: network.into(), ..Self::default() }
    }
}

/// A transport that ports belong to.
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

impl Protocol {
    /// `tcp`, `udp` or `sctp`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
    /// The protocol's number in the IP header.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Protocol {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(Error::invalid(format!("invalid protocol {text:?}: it is tcp, udp or sctp"))),
        }
    }
}

/// A container port to publish on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// The host's address; all of both families when absent, all of one when unspecified (`0.0.0.0`, `::`).
    pub host_ip: Option<IpAddr>,
    /// The host port, or the first of a range to choose from; 0 is any free one.
    pub host_port: u16,
    /// The last of the range; equal to `host_port` for a single port.
    pub host_port_end: u16,
    /// The port in the sandbox.
    pub container_port: u16,
    /// The transport.
    pub protocol: Protocol,
}
