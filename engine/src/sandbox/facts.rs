//! What the networks are told of a sandbox, and what a sandbox shows of its networks.

use crate::network::{self, Attachment, DEFAULT_NETWORK};
use crate::sandbox::record::SandboxRecord;
use crate::sandbox::{EndpointInfo, PublishedPort};
use crate::spec::{EndpointSpec, NetworkMode, PortSpec, Protocol};

/// The hostname in force: asked for, else the beginning of the name's id; empty on the host's network means the node's.
pub(crate) fn hostname(record: &SandboxRecord) -> String {
    if !record.spec.hostname.is_empty() {
        return record.spec.hostname.clone();
    }
    if record.spec.network == NetworkMode::Host {
        return rustix::system::uname().nodename().to_string_lossy().into_owned();
    }
    // A docker container's own sandbox is named by the container's id.
    record.spec.name.get(..12).filter(|_| record.implicit).unwrap_or(record.id.short()).to_owned()
}

/// What a pod without a network plugin is given.
pub(crate) fn pod_endpoint(network: &str) -> EndpointSpec {
    EndpointSpec { network: network.to_owned(), ..EndpointSpec::default() }
}

/// What is asked of the networks. Beside the aliases a sandbox has its own name, its container's short id and its
/// hostname.
pub(crate) fn wanted_endpoint(
    asked: &EndpointSpec,
    record: &SandboxRecord,
    name: Option<&str>,
) -> network::EndpointSpec {
    let network = match asked.network.as_str() {
        "" | "default" => DEFAULT_NETWORK,
        named => named,
    };
    let short_id = record.spec.name.get(..12).filter(|_| record.implicit).map(String::from);
    let mut aliases = asked.aliases.clone();
    for further in short_id.into_iter().chain([hostname(record)]) {
        if !aliases.contains(&further) && name != Some(further.as_str()) {
            aliases.push(further);
        }
    }
    network::EndpointSpec {
        network: network.to_owned(),
        name: name.map(String::from),
        aliases,
        links: asked.links.clone(),
        ipv4: asked.ipv4,
        ipv6: asked.ipv6,
        mac: asked.mac,
        interface: asked.interface.clone(),
        gateway_priority: asked.gateway_priority,
    }
}

/// Ports to publish, in the networks' form.
pub(crate) fn port_mappings(ports: &[PortSpec]) -> Vec<network::PortMapping> {
    let mapping = |port: &PortSpec| network::PortMapping {
        host_ip: port.host_ip,
        host_port: port.host_port,
        host_port_end: port.host_port_end.max(port.host_port),
        container_port: port.container_port,
        protocol: match port.protocol {
            Protocol::Tcp => network::Protocol::Tcp,
            Protocol::Udp => network::Protocol::Udp,
            Protocol::Sctp => network::Protocol::Sctp,
        },
    };
    ports.iter().map(mapping).collect()
}

/// Endpoints as views show them.
pub(crate) fn endpoints(attachment: &Attachment) -> Vec<EndpointInfo> {
    let info = |endpoint: &std::sync::Arc<network::EndpointView>| EndpointInfo {
        network_id: endpoint.network_id.clone(),
        network_name: endpoint.network.clone(),
        endpoint_id: endpoint.id.clone(),
        ipv4: endpoint.ipv4.map(|net| (net.addr(), net.prefix_len())),
        ipv6: endpoint.ipv6.map(|net| (net.addr(), net.prefix_len())),
        gateway_ipv4: endpoint.gateway_v4,
        gateway_ipv6: endpoint.gateway_v6,
        mac: endpoint.mac.map(|byte| format!("{byte:02x}")).join(":"),
        interface: endpoint.interface.clone(),
        aliases: endpoint.aliases.clone(),
        gateway_priority: endpoint.gateway_priority,
    };
    attachment.endpoints.iter().map(info).collect()
}

/// Published ports as views show them.
pub(crate) fn ports(attachment: &Attachment) -> Vec<PublishedPort> {
    let port = |port: &network::PublishedPort| PublishedPort {
        container_port: port.container_port,
        protocol: match port.protocol {
            network::Protocol::Tcp => Protocol::Tcp,
            network::Protocol::Udp => Protocol::Udp,
            network::Protocol::Sctp => Protocol::Sctp,
        },
        host_ip: port.host_ip,
        host_port: port.host_port,
    };
    attachment.ports.iter().map(port).collect()
}
