//! PURE. Networks.

use std::collections::BTreeMap;

use docker_api::network::{ConfigReference, Ipam, IpamConfig, Network, NetworkContainer};
use engine::id::SandboxId;
use engine::network::NetworkView;

/// Finds id and name of the container that an endpoint is shown for.
pub(crate) type ContainerOf<'a> = &'a dyn Fn(&SandboxId) -> Option<(String, String)>;

/// A network; `name_of` finds the container of a sandbox: its id and name. Lists leave the containers out.
pub(crate) fn network(view: &NetworkView, name_of: Option<ContainerOf<'_>>) -> Network {
    let containers = name_of.map(|find| containers(view, find)).unwrap_or_default();
    Network {
        name: view.name.clone(),
        id: view.id.to_string(),
        created: view.created.to_string(),
        scope: "local".into(),
        driver: view.driver.clone(),
        enable_ipv4: view.enable_ipv4,
        enable_ipv6: view.enable_ipv6,
        ipam: ipam(view),
        internal: view.internal,
        attachable: view.attachable,
        ingress: false,
        config_from: ConfigReference::default(),
        config_only: false,
        containers,
        options: view.options.clone(),
        labels: view.labels.clone(),
    }
}

fn ipam(view: &NetworkView) -> Ipam {
    let text = |value: Option<String>| value.unwrap_or_default();
    let ranges = view.ipam.iter().map(|pool| IpamConfig {
        subnet: text(pool.subnet.map(|net| net.to_string())),
        ip_range: text(pool.ip_range.filter(|range| Some(*range) != pool.subnet).map(|net| net.to_string())),
        gateway: text(pool.gateway.map(|ip| ip.to_string())),
        aux_addresses: pool.aux_addresses.iter().map(|(name, ip)| (name.clone(), ip.to_string())).collect(),
    });
    Ipam {
        driver: view.ipam_driver.clone(),
        options: (!view.ipam_options.is_empty()).then(|| view.ipam_options.clone()),
        config: Some(ranges.collect()),
    }
}

fn containers(view: &NetworkView, find: ContainerOf<'_>) -> BTreeMap<String, NetworkContainer> {
    let one = |endpoint: &engine::network::EndpointView| {
        let (id, name) = find(&endpoint.sandbox)?;
        let container = NetworkContainer {
            name,
            endpoint_id: endpoint.id.to_string(),
            mac_address: mac(endpoint.mac),
            ipv4_address: endpoint.ipv4.map(|net| net.to_string()).unwrap_or_default(),
            ipv6_address: endpoint.ipv6.map(|net| net.to_string()).unwrap_or_default(),
        };
        Some((id, container))
    };
    view.endpoints.iter().filter_map(|endpoint| one(endpoint)).collect()
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}
