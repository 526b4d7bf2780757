//! A sandbox into its networks, and out again.
//!
//! Order: addresses and ports are chosen in memory; endpoint and address rows are stored in one transaction; the links
//! are made; the rules change; then it is in force. What fails is taken back in reverse, and a crash leaves rows that
//! [`super::Networks::retain`] finds.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::error::{Error, ErrorKind, Result};
use crate::id::{EndpointId, NetworkId, SandboxId};
use crate::metadata::Durability;
use crate::metadata::tables::{address, endpoint};
use crate::network::bridge::{self, OPTION_HOST_BINDING, Plug};
use crate::network::dns;
use crate::network::firewall;
use crate::network::gateway;
use crate::network::ipam;
use crate::network::networks::{Connected, Network, Shared, State, blocking, endpoint_view, port_rules};
use crate::network::parent;
use crate::network::ports::Reserved;
use crate::network::record::{EndpointRecord, NetworkRecord, RECORD_VERSION};
use crate::network::spec::{EndpointSpec, PortMapping, Protocol};
use crate::network::view::{Attachment, DnsView};

/// Tries to remove the links and rows of endpoints that are out of force.
const DISMANTLE_TRIES: usize = 5;
/// Pause between two of them.
const DISMANTLE_PAUSE: Duration = Duration::from_secs(1);
/// Endpoints that one sandbox may have.
const ENDPOINTS_MAX: usize = 64;
/// Longest name of an interface.
const IFNAME_LEN_MAX: usize = 15;
/// Option of a network: what its interfaces are called in the sandbox, without their number.
const OPTION_IFACE_PREFIX: &str = "com.docker.network.container_iface_prefix";

/// Puts a sandbox into networks. See [`super::Networks::connect`].
///
/// # Errors
/// See there; nothing of this call is left in force then.
pub(super) async fn connect(
    shared: &Arc<Shared>,
    sandbox: &SandboxId,
    netns: OwnedFd,
    wanted: &[EndpointSpec],
    ports: &[PortMapping],
) -> Result<Attachment> {
    if ports.len() > shared.config.ports_per_sandbox_max {
        let (asked, max) = (ports.len(), shared.config.ports_per_sandbox_max);
        return Err(Error::invalid(format!("{asked} published ports are asked for: the limit is {max}")));
    }
    let mut plugs = plan_or_settle(shared, sandbox, wanted).await?;
    // Who is in a network already keeps its routes and ports until the new interface is there; then they are settled.
    let first = !shared.read().sandboxes.contains_key(sandbox);
    let netns_later = netns.try_clone()?;
    let reserved = match reserve_ports(shared, &mut plugs, if first { ports } else { &[] }) {
        Ok(reserved) => reserved,
        Err(error) => {
            forget(&mut shared.write(), &records(&plugs));
            return Err(error);
        }
    };
    let establish = establish(shared, netns, &plugs).await;
    if let Err(error) = establish {
        drop(reserved);
        parent::unplug(netns_later, records(&plugs)).await;
        if let Err(undo) = take_down(shared, records(&plugs), Departure::Complete).await {
            tracing::error!(%undo, %sandbox, "cannot undo a failed connection to a network: it is tried again later");
        }
        return Err(error);
    }
    if let Some(target) = plugs.iter().find(|plug| !plug.endpoint.ports.is_empty()) {
        let EndpointRecord { ipv4, ipv6, .. } = &target.endpoint;
        shared.ports.keep(reserved, ipv4.map(|net| net.addr()), ipv6.map(|net| net.addr()));
    }
    let netns_last = netns_later.try_clone()?;
    if !first && let Err(error) = gateway::settle(shared, sandbox, netns_later, None, ports).await {
        parent::unplug(netns_last, records(&plugs)).await;
        if let Err(undo) = take_down(shared, records(&plugs), Departure::Complete).await {
            tracing::error!(%undo, %sandbox, "cannot undo a failed connection to a network: it is tried again later");
        }
        return Err(error);
    }
    let all = attachment(&shared.read(), sandbox);
    let new = |id: &EndpointId| plugs.iter().any(|plug| plug.endpoint.id == *id);
    let endpoints = all.endpoints.into_iter().filter(|e| new(&e.id)).collect();
    Ok(Attachment { endpoints, ..all })
}

/// What is in force for a sandbox.
pub(super) fn attachment(state: &State, sandbox: &SandboxId) -> Attachment {
    let Some(connected) = state.sandboxes.get(sandbox) else { return Attachment::default() };
    let mut networks = connected.iter().filter_map(|c| state.networks.get(&c.record.network_id));
    let embedded = networks.any(|n| n.record.has_names());
    Attachment {
        endpoints: connected.iter().map(|c| Arc::clone(&c.view)).collect(),
        ports: connected.iter().flat_map(|c| c.record.ports.iter().cloned()).collect(),
        dns: DnsView { resolver: embedded.then_some(IpAddr::V4(dns::ADDRESS)), embedded },
    }
}

/// How much of a departure the caller waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Departure {
    /// All of it: the interface is gone from a sandbox that lives on.
    Complete,
    /// Rules and host ports. The kernel takes some 20 ms to let go of a link; nobody needs to wait for it when the
    /// sandbox has ended. See [`Shared::settle`].
    OutOfForce,
}

/// Takes a sandbox out of all its networks, or of one.
///
/// # Errors
/// When the store or the kernel refuses; what is left keeps its rows, and the next start sweeps it.
pub(super) async fn disconnect(
    shared: &Arc<Shared>,
    sandbox: &SandboxId,
    only: Option<&NetworkId>,
    wait: Departure,
) -> Result<()> {
    let of_sandbox = shared.read().sandboxes.get(sandbox).cloned().unwrap_or_default();
    let leaving = of_sandbox.into_iter().map(|c| c.record).filter(|r| only.is_none_or(|id| r.network_id == *id));
    take_down(shared, leaving.collect(), wait).await
}

/// The endpoints that a sandbox has in a network.
pub(super) fn records_in(shared: &Shared, sandbox: &SandboxId, network: &NetworkId) -> Vec<EndpointRecord> {
    let of_sandbox = shared.read().sandboxes.get(sandbox).cloned().unwrap_or_default();
    of_sandbox.into_iter().map(|c| c.record).filter(|record| record.network_id == *network).collect()
}

fn records(plugs: &[Plug]) -> Vec<EndpointRecord> {
    plugs.iter().map(|plug| plug.endpoint.clone()).collect()
}

/// A plan that meets an endpoint on its way out is made again when that has gone.
async fn plan_or_settle(shared: &Shared, sandbox: &SandboxId, wanted: &[EndpointSpec]) -> Result<Vec<Plug>> {
    if shared.read().departing.values().any(|departing| departing == sandbox) {
        shared.settle().await;
    }
    match plan(shared, sandbox, wanted) {
        Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::ResourceExhausted) => {
            shared.settle().await;
            plan(shared, sandbox, wanted)
        }
        other => other,
    }
}

/// Chooses networks, addresses and names, and leases the addresses in memory: all or none.
fn plan(shared: &Shared, sandbox: &SandboxId, wanted: &[EndpointSpec]) -> Result<Vec<Plug>> {
    let mut state = shared.write();
    let existing: Vec<_> =
        state.sandboxes.get(sandbox).map_or(Vec::new(), |c| c.iter().map(|c| c.record.clone()).collect());
    if existing.len() + wanted.len() > ENDPOINTS_MAX {
        return Err(Error::invalid(format!("sandbox {}: more than {ENDPOINTS_MAX} networks", sandbox.short())));
    }
    let mut plugs: Vec<Plug> = Vec::with_capacity(wanted.len());
    for spec in wanted {
        let others: Vec<_> = existing.iter().cloned().chain(records(&plugs)).collect();
        match plan_one(&mut state, shared, sandbox, spec, &others) {
            Ok(plug) => plugs.push(plug),
            Err(error) => {
                forget(&mut state, &records(&plugs));
                return Err(error);
            }
        }
    }
    if existing.is_empty() {
        choose_default_routes(&mut plugs);
    }
    Ok(plugs)
}

fn plan_one(
    state: &mut State,
    shared: &Shared,
    sandbox: &SandboxId,
    spec: &EndpointSpec,
    others: &[EndpointRecord],
) -> Result<Plug> {
    let id = state.find(&spec.network)?.record.id.clone();
    let network = state.networks.get_mut(&id).ok_or_else(|| Error::internal("the network is gone"))?;
    let record = Arc::clone(&network.record);
    if record.predefined && record.bridge.is_none() {
        let message =
            format!("network {} cannot be connected to: a sandbox is in it from its start or not at all", record.name);
        return Err(Error::new(ErrorKind::Forbidden, message));
    }
    if others.iter().any(|other| other.network_id == id) {
        let message = format!("sandbox {} is already connected to network {}", sandbox.short(), record.name);
        return Err(Error::new(ErrorKind::Forbidden, message));
    }
    let interface = interface_name(&record, spec, others)?;
    let (ipv4, ipv6) = lease(network, spec)?;
    let endpoint_id = EndpointId::random();
    network.members.insert(endpoint_id.clone());
    let endpoint = EndpointRecord {
        v: RECORD_VERSION,
        network_id: id,
        sandbox: sandbox.clone(),
        mac: spec.mac.unwrap_or_else(|| derive_mac(ipv4, &endpoint_id)),
        ipv4,
        ipv6,
        interface,
        // Interfaces on a parent have no end on the host.
        host_interface: record
            .bridge
            .as_ref()
            .map_or(String::new(), |_| format!("veth{}", endpoint_id.as_str().get(..8).unwrap_or_default())),
        default_route: false,
        default_route_v6: false,
        gateway_priority: spec.gateway_priority,
        name: spec.name.clone(),
        aliases: spec.aliases.clone(),
        links: spec.links.clone(),
        ports: Vec::new(),
        id: endpoint_id,
    };
    Ok(Plug { mtu: network.mtu(&shared.config), network: record, endpoint })
}

/// Leases an address of each family that the network has.
fn lease(network: &mut Network, spec: &EndpointSpec) -> Result<(Option<Ipv4Net>, Option<Ipv6Net>)> {
    let record = Arc::clone(&network.record);
    let name = &record.name;
    let mut leased = Vec::new();
    for (ipv6, fixed) in [(false, spec.ipv4.map(IpAddr::V4)), (true, spec.ipv6.map(IpAddr::V6))] {
        let of_family = |pool: &&crate::network::IpamPool| pool.subnet.is_some_and(|net| ipam::is_v6(&net) == ipv6);
        let chosen = match (record.ipam.iter().find(of_family), fixed) {
            (None, None) => continue,
            (None, Some(ip)) => {
                Err(Error::invalid(format!("invalid address {ip}: network {name} has no subnet for it")))
            }
            (Some(pool), Some(ip)) => ipam::claim(pool, &network.taken, ip).map(|ip| (pool, ip)),
            (Some(pool), None) => {
                ipam::allocate(pool, &network.taken, network.last_given.get(&ipv6).copied()).map(|ip| (pool, ip))
            }
        };
        match chosen {
            Ok((pool, ip)) => {
                network.taken.insert(ip);
                if fixed.is_none() {
                    network.last_given.insert(ipv6, ip);
                }
                let prefix = pool.subnet.map_or(0, |net| net.prefix_len());
                leased.push(IpNet::new(ip, prefix).map_err(|_| Error::internal("address pool with a wrong prefix"))?);
            }
            Err(error) => {
                for net in leased {
                    network.taken.remove(&net.addr());
                }
                return Err(error.context(format!("network {name}")));
            }
        }
    }
    let v4 = leased.iter().find_map(|net| if let IpNet::V4(v4) = net { Some(*v4) } else { None });
    let v6 = leased.iter().find_map(|net| if let IpNet::V6(v6) = net { Some(*v6) } else { None });
    Ok((v4, v6))
}

/// The name asked for, or the network's prefix with the first number that the sandbox does not use.
fn interface_name(network: &NetworkRecord, spec: &EndpointSpec, others: &[EndpointRecord]) -> Result<String> {
    let used = |name: &str| others.iter().any(|other| other.interface == name);
    if let Some(name) = &spec.interface {
        let fits = |b: u8| b.is_ascii_graphic() && b != b'/' && b != b':' && b != b'%';
        let no_name = name.is_empty() || name.len() > IFNAME_LEN_MAX || matches!(name.as_str(), "." | ".." | "lo");
        if no_name || !name.bytes().all(fits) {
            return Err(Error::invalid(format!("invalid interface name {name:?}")));
        }
        if used(name) {
            return Err(Error::conflict(format!("interface name {name:?} is used twice")));
        }
        return Ok(name.clone());
    }
    let prefix = network.options.get(OPTION_IFACE_PREFIX).map_or("eth", String::as_str);
    let mut candidates = (0..=ENDPOINTS_MAX).map(|number| format!("{prefix}{number}"));
    candidates.find(|name| !used(name)).ok_or_else(|| Error::internal("no interface name is free"))
}

/// From the IPv4 address, as Docker does: an address that comes back to another sandbox keeps its hardware address, so
/// that no neighbour holds a wrong one.
fn derive_mac(ipv4: Option<Ipv4Net>, endpoint: &EndpointId) -> [u8; 6] {
    let tail = ipv4.map(|net| net.addr().octets()).unwrap_or_else(|| {
        let number = endpoint.as_str().get(..8).and_then(|hex| u32::from_str_radix(hex, 16).ok());
        number.unwrap_or_default().to_be_bytes()
    });
    [0x02, 0x42, tail[0], tail[1], tail[2], tail[3]]
}

/// The default routes of a sandbox that is in no network yet.
fn choose_default_routes(plugs: &mut [Plug]) {
    let chosen = gateway::choose(plugs.iter().map(|plug| (&plug.endpoint, &*plug.network)));
    for plug in plugs {
        chosen.mark(&mut plug.endpoint);
    }
}

/// Binds the ports on the host and notes them with the endpoint that they lead to: the one with the default route.
/// A sandbox with internal networks only publishes nothing, as with Docker.
fn reserve_ports(shared: &Shared, plugs: &mut [Plug], ports: &[PortMapping]) -> Result<Reserved> {
    let outward = plugs.iter().position(|plug| plug.endpoint.default_route);
    let outward = outward.or_else(|| plugs.iter().position(|plug| plug.endpoint.default_route_v6));
    let outward = outward.filter(|index| plugs.get(*index).is_some_and(|plug| plug.network.bridge.is_some()));
    let Some(plug) = outward.and_then(|index| plugs.get_mut(index)).filter(|_| !ports.is_empty()) else {
        return Ok(Reserved::default());
    };
    let reserved = shared.ports.reserve(ports, default_host_ip(&plug.network))?;
    plug.endpoint.ports = reserved.ports();
    Ok(reserved)
}

/// The host address that a network publishes on when none is asked for; none is all of them.
pub(super) fn default_host_ip(network: &NetworkRecord) -> Option<IpAddr> {
    let bound = network.options.get(OPTION_HOST_BINDING).and_then(|text| text.parse::<Ipv4Addr>().ok());
    bound.filter(|ip| !ip.is_unspecified()).map(IpAddr::V4)
}

/// Stores the endpoints, then makes their links, then their rules.
async fn establish(shared: &Arc<Shared>, netns: OwnedFd, plugs: &[Plug]) -> Result<()> {
    let rows = records(plugs);
    let stored = shared.store.write(Durability::Crash, move |tx| {
        rows.iter().try_for_each(|row| {
            endpoint::insert(tx, row)?;
            row.addresses().try_for_each(|ip| address::insert(tx, &row.network_id, ip, &row.id))
        })
    });
    stored.await?;
    let (shared, plugs) = (Arc::clone(shared), plugs.to_vec());
    blocking(move || {
        bridge::plug(netns.as_fd(), &plugs)?;
        let rules: Vec<_> = plugs.iter().flat_map(|plug| port_rules(&plug.endpoint)).collect();
        shared.change_rules(&firewall::add_ports(&rules), |state| enter(state, &plugs))
    })
    .await
}

/// Makes endpoints known to readers.
fn enter(state: &mut State, plugs: &[Plug]) {
    for plug in plugs {
        let record = plug.endpoint.clone();
        let view = Arc::new(endpoint_view(&record, &plug.network));
        state.sandboxes.entry(record.sandbox.clone()).or_default().push(Connected { record, view });
        state.republish(&plug.network.id);
    }
}

/// Takes endpoints out of force: rules, host ports; then their links and rows; and last their addresses, so that no
/// address is given again while a link may still have it.
async fn take_down(shared: &Arc<Shared>, endpoints: Vec<EndpointRecord>, wait: Departure) -> Result<()> {
    if endpoints.is_empty() {
        return Ok(());
    }
    let under_way = Arc::clone(&shared.departures).read_owned().await;
    let (task_shared, task_endpoints) = (Arc::clone(shared), endpoints.clone());
    let out_of_force = blocking(move || withdraw(&task_shared, &task_endpoints)).await;
    if wait == Departure::Complete {
        return dismantle(shared, &endpoints).await.and(out_of_force);
    }
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        for _ in 0..DISMANTLE_TRIES {
            match dismantle(&shared, &endpoints).await {
                Ok(()) => break,
                Err(error) => tracing::error!(%error, "a link or its addresses are left: trying again"),
            }
            tokio::time::sleep(DISMANTLE_PAUSE).await;
        }
        drop(under_way);
    });
    out_of_force
}

/// Rules and host ports, and what readers see. Blocks.
fn withdraw(shared: &Shared, endpoints: &[EndpointRecord]) -> Result<()> {
    let rules: Vec<_> = endpoints.iter().flat_map(port_rules).collect();
    // When the kernel does not know these rules, the whole table is applied, without these ports.
    let changed = shared.change_rules(&firewall::remove_ports(&rules), |state| {
        for record in endpoints {
            state.departing.insert(record.id.clone(), record.sandbox.clone());
            if let Some(connected) = state.sandboxes.get_mut(&record.sandbox) {
                connected.retain(|c| c.record.id != record.id);
                if connected.is_empty() {
                    state.sandboxes.remove(&record.sandbox);
                }
            }
            state.republish(&record.network_id);
        }
    });
    for record in endpoints {
        shared.ports.release(&record.ports);
        forget_udp_flows(record);
    }
    changed
}

/// Links, then rows, then the leases in memory.
async fn dismantle(shared: &Shared, endpoints: &[EndpointRecord]) -> Result<()> {
    let links: Vec<_> = endpoints.iter().map(|record| record.host_interface.clone()).collect();
    let links: Vec<_> = links.into_iter().filter(|link| !link.is_empty()).collect();
    blocking(move || links.iter().try_for_each(|link| bridge::remove_link(link))).await?;
    let ids: Vec<_> = endpoints.iter().map(|record| record.id.clone()).collect();
    let removed = shared.store.write(Durability::Crash, move |tx| {
        ids.iter().try_for_each(|id| {
            address::delete_of(tx, id)?;
            endpoint::delete(tx, id)
        })
    });
    removed.await?;
    forget(&mut shared.write(), endpoints);
    Ok(())
}

/// Gives the addresses of endpoints back, in memory.
fn forget(state: &mut State, endpoints: &[EndpointRecord]) {
    for record in endpoints {
        state.departing.remove(&record.id);
        if let Some(network) = state.networks.get_mut(&record.network_id) {
            network.members.remove(&record.id);
            for ip in record.addresses() {
                network.taken.remove(&ip);
            }
        }
    }
}

/// A UDP client that goes on sending would follow the old translation; see `sys::netlink::flush_udp_port`.
fn forget_udp_flows(record: &EndpointRecord) {
    let udp = record.ports.iter().filter(|port| port.protocol == Protocol::Udp);
    for port in udp {
        for target in record.addresses() {
            if let Err(error) = bridge::forget_udp_flows(target, port.host_port) {
                tracing::debug!(%error, port = port.host_port, "flows of a published port are left to time out");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hardware_address_follows_the_address() {
        let net: Ipv4Net = "172.17.0.2/16".parse().unwrap();
        assert_eq!(derive_mac(Some(net), &EndpointId::random()), [0x02, 0x42, 172, 17, 0, 2]);
        let (a, b) = (EndpointId::random(), EndpointId::random());
        assert_eq!(derive_mac(None, &a), derive_mac(None, &a));
        assert_ne!(derive_mac(None, &a), derive_mac(None, &b));
    }
}
