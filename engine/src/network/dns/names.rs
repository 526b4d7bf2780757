//! PURE. What a sandbox's networks know of a name or an address.

use std::net::IpAddr;

use crate::network::view::{EndpointView, NetworkView};

/// A network that a sandbox is in, with its own place there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) own: &'a EndpointView,
    pub(super) network: &'a NetworkView,
}

/// The addresses of all endpoints that have this name, in the first network where there is one; `None` when no network
/// knows the name. A name may stand alone or with its network's behind it.
pub(super) fn addresses(places: &[Place<'_>], name: &str) -> Option<Vec<IpAddr>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        return None;
    }
    places.iter().find_map(|place| {
        let bare = without_suffix(name, &place.network.name);
        [Some(name), bare].into_iter().flatten().find_map(|name| in_network(place, name))
    })
}

fn in_network(place: &Place<'_>, name: &str) -> Option<Vec<IpAddr>> {
    let link = place.own.links.iter().find(|(_, here)| here.eq_ignore_ascii_case(name));
    let theirs = link.map_or(name, |(theirs, _)| theirs.as_str());
    let mut known = false;
    let mut found = Vec::new();
    for endpoint in place.network.endpoints.iter().filter(|endpoint| has_name(endpoint, theirs)) {
        known = true;
        found.extend(endpoint.ipv4.map(|net| IpAddr::V4(net.addr())));
        found.extend(endpoint.ipv6.map(|net| IpAddr::V6(net.addr())));
    }
    known.then_some(found)
}

fn has_name(endpoint: &EndpointView, name: &str) -> bool {
    endpoint.name.iter().chain(&endpoint.aliases).any(|own| own.eq_ignore_ascii_case(name))
}

fn without_suffix<'n>(name: &'n str, network: &str) -> Option<&'n str> {
    let cut = name.len().checked_sub(network.len() + 1)?;
    let (bare, suffix) = (name.get(..cut)?, name.get(cut..)?);
    let is_it = suffix.strip_prefix('.').is_some_and(|rest| rest.eq_ignore_ascii_case(network));
    (is_it && !bare.is_empty()).then_some(bare)
}

/// Who has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holder {
    /// An endpoint of this full name.
    Named(String),
    /// Nobody, though it is of one of the networks.
    Nobody,
    /// It is of no network of the sandbox.
    Elsewhere,
}

/// Who has `ip` in one of the networks.
pub(super) fn holder(places: &[Place<'_>], ip: IpAddr) -> Holder {
    for Place { network, .. } in places {
        let has_it = |endpoint: &&std::sync::Arc<EndpointView>| {
            endpoint.ipv4.is_some_and(|net| net.addr() == ip) || endpoint.ipv6.is_some_and(|net| net.addr() == ip)
        };
        let endpoint = network.endpoints.iter().find(has_it);
        if let Some(name) = endpoint.and_then(|e| e.name.as_ref().or(e.aliases.first())) {
            return Holder::Named(format!("{name}.{}", network.name));
        }
    }
    let ours =
        |place: &Place<'_>| place.network.ipam.iter().any(|pool| pool.subnet.is_some_and(|net| net.contains(&ip)));
    if places.iter().any(ours) { Holder::Nobody } else { Holder::Elsewhere }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::id::{EndpointId, NetworkId, Owner, SandboxId};
    use crate::network::spec::IpamPool;

    fn endpoint(network: &NetworkView, name: &str, aliases: &[&str], ipv4: &str, ipv6: Option<&str>) -> EndpointView {
        EndpointView {
            id: EndpointId::random(),
            network_id: network.id.clone(),
            network: network.name.clone(),
            sandbox: SandboxId::random(),
            ipv4: Some(ipv4.parse().unwrap()),
            ipv6: ipv6.map(|ip| ip.parse().unwrap()),
            gateway_v4: None,
            gateway_v6: None,
            default_route: false,
            default_route_v6: false,
            gateway_priority: 0,
            mac: [2; 6],
            interface: "eth0".into(),
            host_interface: "veth0".into(),
            name: Some(name.to_owned()),
            aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
            links: Vec::new(),
        }
    }

    fn network(name: &str, subnet: &str) -> NetworkView {
        NetworkView {
            id: NetworkId::random(),
            name: name.into(),
            driver: "bridge".into(),
            owner: Owner::Docker,
            created: jiff::Timestamp::UNIX_EPOCH,
            predefined: false,
            internal: false,
            attachable: false,
            enable_ipv4: true,
            enable_ipv6: false,
            ipam_driver: "default".into(),
            ipam: vec![IpamPool { subnet: Some(subnet.parse().unwrap()), ..IpamPool::default() }],
            ipam_options: Default::default(),
            options: Default::default(),
            labels: Default::default(),
            bridge: None,
            endpoints: Vec::new(),
        }
    }

    #[test]
    fn names_are_those_of_shared_networks() {
        let mut front = network("front", "10.1.0.0/24");
        let mut back = network("back", "10.2.0.0/24");
        let web = endpoint(&front, "web", &["www"], "10.1.0.2/24", None);
        let mut in_back = endpoint(&back, "web", &[], "10.2.0.2/24", None);
        in_back.links = vec![("db".into(), "postgres".into())];
        let db = endpoint(&back, "db", &["shared"], "10.2.0.3/24", Some("fd00::3/64"));
        let other = endpoint(&back, "other", &["shared"], "10.2.0.4/24", None);
        front.endpoints = vec![Arc::new(web.clone())];
        back.endpoints = [&in_back, &db, &other].map(|e| Arc::new(e.clone())).to_vec();
        let both = [Place { own: &web, network: &front }, Place { own: &in_back, network: &back }];
        let ask = |places: &[Place<'_>], name: &str| {
            addresses(places, name).map(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        for (name, expected) in [
            ("db", Some("10.2.0.3 fd00::3")),
            ("DB.", Some("10.2.0.3 fd00::3")),
            ("db.back", Some("10.2.0.3 fd00::3")),
            ("db.front", None),
            ("shared", Some("10.2.0.3 fd00::3 10.2.0.4")),
            ("postgres", Some("10.2.0.3 fd00::3")),
            ("web", Some("10.1.0.2")),
            ("web.back.", Some("10.2.0.2")),
            ("", None),
            (".", None),
            (".back", None),
            ("example.com", None),
        ] {
            assert_eq!(ask(&both, name).as_deref(), expected, "{name:?}");
        }
        assert_eq!(ask(&both[..1], "db"), None, "a network that it is not in");
        assert_eq!(holder(&both, "10.2.0.3".parse().unwrap()), Holder::Named("db.back".into()));
        assert_eq!(holder(&both, "10.2.0.99".parse().unwrap()), Holder::Nobody);
        assert_eq!(holder(&both, "8.8.8.8".parse().unwrap()), Holder::Elsewhere);
        assert_eq!(holder(&both[..1], "10.2.0.3".parse().unwrap()), Holder::Elsewhere);
    }
}
