//! Which endpoint of a sandbox has its default routes and its published ports, and how both move to another.
//!
//! The choice is Docker's: the highest priority, then an endpoint with both address families, then the first name of a
//! network; never an internal network. Each family has a choice of its own. A move is one replacement of a route and one
//! batch of rules: connections that are open keep their translation.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use ipnet::IpNet;

use crate::error::Result;
use crate::id::{EndpointId, NetworkId, SandboxId};
use crate::metadata::Durability;
use crate::metadata::tables::endpoint;
use crate::network::bridge::{self, DefaultRoute};
use crate::network::connect::default_host_ip;
use crate::network::firewall;
use crate::network::networks::{Connected, Shared, State, blocking, endpoint_view, port_rules};
use crate::network::ports::Reserved;
use crate::network::record::{EndpointRecord, NetworkRecord};
use crate::network::spec::PortMapping;

/// The endpoints that traffic leaves by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Gateways {
    v4: Option<EndpointId>,
    v6: Option<EndpointId>,
    /// The endpoint that published ports lead to: none where traffic leaves by a parent, past the host's rules.
    ports: Option<EndpointId>,
}

impl Gateways {
    /// Writes the choice into one of the endpoints it was made among.
    pub(super) fn mark(&self, endpoint: &mut EndpointRecord) {
        endpoint.default_route = self.v4.as_ref() == Some(&endpoint.id);
        endpoint.default_route_v6 = self.v6.as_ref() == Some(&endpoint.id);
    }
}

/// PURE. The choice among the endpoints of one sandbox.
pub(super) fn choose<'a>(among: impl Iterator<Item = (&'a EndpointRecord, &'a NetworkRecord)>) -> Gateways {
    let mut sorted: Vec<_> = among.collect();
    sorted.sort_by_key(|(endpoint, network)| {
        let both = endpoint.ipv4.is_some() && endpoint.ipv6.is_some();
        (Reverse(endpoint.gateway_priority), Reverse(both), network.name.as_str())
    });
    let first = |ipv6: bool| {
        let leads_out =
            |(endpoint, network): &&(&EndpointRecord, &NetworkRecord)| via(endpoint, network, ipv6).is_some();
        sorted.iter().find(leads_out).map(|(endpoint, _)| endpoint.id.clone())
    };
    let (v4, v6) = (first(false), first(true));
    let outward = v4.as_ref().or(v6.as_ref());
    let on_bridge = sorted.iter().find(|(endpoint, network)| Some(&endpoint.id) == outward && network.bridge.is_some());
    let ports = on_bridge.map(|(endpoint, _)| endpoint.id.clone());
    Gateways { v4, v6, ports }
}

/// The next hop of one family by an endpoint.
fn via(endpoint: &EndpointRecord, network: &NetworkRecord, ipv6: bool) -> Option<IpAddr> {
    let net = if ipv6 { endpoint.ipv6.map(IpNet::V6) } else { endpoint.ipv4.map(IpNet::V4) };
    bridge::gateway_for(network, net?)
}

/// A move that is planned.
#[derive(Debug, Default)]
struct Move {
    /// Endpoints that change, as they are and as they will be.
    changed: Vec<(EndpointRecord, EndpointRecord)>,
    routes: Vec<DefaultRoute>,
    reserved: Reserved,
}

/// Makes routes and ports agree with the endpoints that a sandbox has, without those in the network `leaving`. Where no
/// endpoint has published `ports` yet, they are published.
///
/// # Errors
/// When the store or the kernel refuses, or a port is taken.
pub(super) async fn settle(
    shared: &Arc<Shared>,
    sandbox: &SandboxId,
    netns: OwnedFd,
    leaving: Option<&NetworkId>,
    ports: &[PortMapping],
) -> Result<()> {
    let planned = plan(shared, sandbox, leaving, ports)?;
    if planned.changed.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = planned.changed.iter().map(|(_, new)| new.clone()).collect();
    let stored = rows.clone();
    let store =
        shared.store.write(Durability::Crash, move |tx| stored.iter().try_for_each(|row| endpoint::replace(tx, row)));
    store.await?;
    let Move { changed, routes, reserved } = planned;
    let task_shared = Arc::clone(shared);
    blocking(move || {
        bridge::move_default_routes(netns.as_fd(), &routes)?;
        let old: Vec<_> = changed.iter().flat_map(|(old, _)| port_rules(old)).collect();
        let new: Vec<_> = changed.iter().flat_map(|(_, new)| port_rules(new)).collect();
        let mut updates = firewall::remove_ports(&old);
        updates.extend(firewall::add_ports(&new));
        task_shared.change_rules(&updates, |state| enter(state, changed.into_iter().map(|(_, new)| new)))
    })
    .await?;
    for row in rows.iter().filter(|row| !row.ports.is_empty()) {
        shared.ports.retarget(&row.ports, row.ipv4.map(|net| net.addr()), row.ipv6.map(|net| net.addr()));
    }
    if let Some(row) = rows.iter().find(|row| !row.ports.is_empty()) {
        shared.ports.keep(reserved, row.ipv4.map(|net| net.addr()), row.ipv6.map(|net| net.addr()));
    }
    Ok(())
}

fn plan(shared: &Shared, sandbox: &SandboxId, leaving: Option<&NetworkId>, ports: &[PortMapping]) -> Result<Move> {
    let state = shared.read();
    let connected: Vec<&EndpointRecord> =
        state.sandboxes.get(sandbox).map_or(Vec::new(), |all| all.iter().map(|c| &c.record).collect());
    let staying = connected.iter().filter(|record| leaving != Some(&record.network_id));
    let with_network = |record: &&EndpointRecord| state.networks.get(&record.network_id).map(|n| &*n.record);
    let among: Vec<_> = staying.filter_map(|record| Some((*record, with_network(record)?))).collect();
    let chosen = choose(among.iter().copied());
    let mut planned = Move::default();
    for ipv6 in [false, true] {
        let now = connected.iter().find(|r| if ipv6 { r.default_route_v6 } else { r.default_route });
        let then = if ipv6 { &chosen.v6 } else { &chosen.v4 };
        if now.map(|record| &record.id) != then.as_ref() {
            let to = among.iter().find(|(record, _)| Some(&record.id) == then.as_ref());
            let via = to.and_then(|(record, network)| Some((record.interface.clone(), via(record, network, ipv6)?)));
            planned.routes.push(DefaultRoute { ipv6, via });
        }
    }
    let mut published: Vec<_> = connected.iter().flat_map(|record| record.ports.iter().cloned()).collect();
    let holder = chosen.ports.as_ref();
    if published.is_empty()
        && !ports.is_empty()
        && let Some((_, network)) = among.iter().find(|(record, _)| Some(&record.id) == holder)
    {
        planned.reserved = shared.ports.reserve(ports, default_host_ip(network))?;
        published = planned.reserved.ports();
    }
    for old in connected {
        let mut new = old.clone();
        chosen.mark(&mut new);
        // Ports without another endpoint to lead to stay where they are, and go with it.
        if let Some(holder) = holder {
            new.ports = if *holder == new.id { published.clone() } else { Vec::new() };
        }
        if new != *old {
            planned.changed.push((old.clone(), new));
        }
    }
    Ok(planned)
}

/// Makes changed endpoints known to readers.
pub(super) fn enter(state: &mut State, changed: impl Iterator<Item = EndpointRecord>) {
    for record in changed {
        let Some(network) = state.networks.get(&record.network_id).map(|n| Arc::clone(&n.record)) else { continue };
        let network_id = record.network_id.clone();
        if let Some(place) = state
            .sandboxes
            .get_mut(&record.sandbox)
            .and_then(|all| all.iter_mut().find(|connected| connected.record.id == record.id))
        {
            let view = Arc::new(endpoint_view(&record, &network));
            *place = Connected { record, view };
        }
        state.republish(&network_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Owner;
    use crate::network::spec::{IpamPool, NetworkSpec};

    fn network(name: &str, internal: bool) -> NetworkRecord {
        let pool = |subnet: &str, gateway: &str| IpamPool {
            subnet: Some(subnet.parse().unwrap()),
            gateway: Some(gateway.parse().unwrap()),
            ..IpamPool::default()
        };
        let spec = NetworkSpec { internal, ..NetworkSpec::bridge(name, Owner::Docker) };
        let mut record = crate::network::create::record_of(&spec);
        record.bridge = Some(format!("br-{name}"));
        record.ipam = vec![pool("10.0.0.0/24", "10.0.0.1"), pool("fd00::/64", "fd00::1")];
        record
    }

    fn endpoint(priority: i64, v4: bool, v6: bool) -> EndpointRecord {
        EndpointRecord {
            v: 1,
            id: EndpointId::random(),
            network_id: NetworkId::random(),
            sandbox: SandboxId::random(),
            ipv4: v4.then(|| "10.0.0.7/24".parse().unwrap()),
            ipv6: v6.then(|| "fd00::7/64".parse().unwrap()),
            mac: [2; 6],
            interface: "eth0".into(),
            host_interface: "veth0".into(),
            default_route: false,
            default_route_v6: false,
            gateway_priority: priority,
            name: None,
            aliases: Vec::new(),
            links: Vec::new(),
            ports: Vec::new(),
        }
    }

    #[test]
    fn the_first_name_leads_out_unless_a_priority_says_otherwise() {
        let (a, b, inner) = (network("a", false), network("b", false), network("0", true));
        let (in_a, in_b, inside) = (endpoint(0, true, false), endpoint(0, true, false), endpoint(9, true, true));
        let chosen = choose([(&in_b, &b), (&in_a, &a), (&inside, &inner)].into_iter());
        let a_alone = Gateways { v4: Some(in_a.id.clone()), v6: None, ports: Some(in_a.id.clone()) };
        assert_eq!(chosen, a_alone);
        let lan = NetworkRecord { bridge: None, ..network("a", false) };
        assert_eq!(choose([(&in_a, &lan), (&in_b, &b)].into_iter()).ports, None, "it leaves past the host");
        let preferred = endpoint(1, true, false);
        assert_eq!(choose([(&in_a, &a), (&preferred, &b)].into_iter()).v4, Some(preferred.id.clone()));
        let both = endpoint(0, true, true);
        let dual = choose([(&in_a, &a), (&both, &b)].into_iter());
        assert_eq!((dual.v4, dual.v6), (Some(both.id.clone()), Some(both.id.clone())));
        let six = endpoint(5, false, true);
        let split = choose([(&in_a, &a), (&six, &b)].into_iter());
        assert_eq!((split.v4, split.v6), (Some(in_a.id.clone()), Some(six.id.clone())));
        assert_eq!(choose([(&inside, &inner)].into_iter()), Gateways::default());
    }
}
