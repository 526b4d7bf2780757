//! The kernel's side of bridge networks: the bridge itself, and an endpoint's veth pair with its addresses and routes.
//!
//! Everything here blocks for as long as the kernel's rtnl lock is held by others: call it on a blocking thread.

use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use ipnet::IpNet;
use sys::netlink::{self, Address, BridgePortFlag, BridgeSpec, Protocol, Socket, VethSpec, netns};

use crate::error::{Error, Result};
use crate::network::parent;
use crate::network::record::{EndpointRecord, NetworkRecord};

/// Option of a network: the bridge's name.
pub(super) const OPTION_BRIDGE_NAME: &str = "com.docker.network.bridge.name";
/// Option: whether sandboxes of the network reach each other.
pub(super) const OPTION_ICC: &str = "com.docker.network.bridge.enable_icc";
/// Option: whether traffic leaves with the host's address.
pub(super) const OPTION_MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
/// Option: the host's address that ports are published on when none is asked for.
pub(super) const OPTION_HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
/// Option: the maximum transmission unit.
pub(super) const OPTION_MTU: &str = "com.docker.network.driver.mtu";

/// Longest time that a new link, or a new address on it, is waited for.
const OPERATIONAL_WAIT_MAX: Duration = Duration::from_millis(100);

/// What an endpoint's link is made from.
#[derive(Debug, Clone)]
pub(super) struct Plug {
    pub(super) network: std::sync::Arc<NetworkRecord>,
    pub(super) endpoint: EndpointRecord,
    pub(super) mtu: Option<u32>,
}

pub(super) fn failed(what: impl std::fmt::Display, error: io::Error) -> Error {
    Error::internal(what.to_string()).with_source(error)
}

pub(super) fn route_socket() -> Result<Socket> {
    Socket::open(Protocol::Route, 0).map_err(|e| failed("open rtnetlink", e))
}

/// The networks that the host has routes to or addresses in, without default routes.
pub(super) fn host_networks() -> Result<Vec<IpNet>> {
    let mut socket = route_socket()?;
    let routes = netlink::list_routes(&mut socket).map_err(|e| failed("list the host's routes", e))?;
    let addresses = netlink::list_addresses(&mut socket).map_err(|e| failed("list the host's addresses", e))?;
    let from_routes = routes.iter().filter(|r| r.prefix > 0).map(|r| (r.destination, r.prefix));
    let from_addresses = addresses.iter().filter(|a| !a.ip.is_loopback()).map(|a| (a.ip, a.prefix));
    Ok(from_routes
        .chain(from_addresses)
        .filter_map(|(ip, prefix)| Some(IpNet::new(ip, prefix).ok()?.trunc()))
        .collect())
}

/// Makes the bridge of a network, or completes the one that is there. Answers its interface index.
///
/// # Errors
/// When a link of that name is no bridge, or the kernel refuses.
pub(super) fn ensure_bridge(record: &NetworkRecord, mtu: Option<u32>) -> Result<u32> {
    let mut socket = route_socket()?;
    ensure_bridge_with(&mut socket, record, mtu)
}

fn ensure_bridge_with(socket: &mut Socket, record: &NetworkRecord, mtu: Option<u32>) -> Result<u32> {
    let name = record.bridge.as_deref().ok_or_else(|| Error::internal("bridge network without a bridge"))?;
    let what = |step: &str| format!("{step} bridge {name} of network {}", record.name);
    if let Some(link) = find(socket, name)? {
        if link.kind != "bridge" {
            let kind = if link.kind.is_empty() { "link" } else { link.kind.as_str() };
            return Err(Error::conflict(format!("{}: there is a {kind} of that name", what("make"))));
        }
        route_loopback(record, name).map_err(|e| failed(what("route 127.0.0.0/8 to"), e))?;
        return Ok(link.index);
    }
    let spec = BridgeSpec { name, mac: bridge_mac(record), mtu };
    netlink::create_bridge(socket, &spec).map_err(|e| failed(what("make"), e))?;
    let link = find(socket, name)?.ok_or_else(|| Error::internal(what("find the new")))?;
    set_ipv6_of_bridge(name, record.enable_ipv6).map_err(|e| failed(what("set IPv6 of"), e))?;
    route_loopback(record, name).map_err(|e| failed(what("route 127.0.0.0/8 to"), e))?;
    for pool in &record.ipam {
        if let (Some(ip), Some(subnet)) = (pool.gateway, pool.subnet) {
            let address = Address { link: link.index, ip, prefix: subnet.prefix_len() };
            netlink::add_address(socket, &address).map_err(|e| failed(what(&format!("put {ip} on")), e))?;
        }
    }
    netlink::set_link_up(socket, link.index).map_err(|e| failed(what("set up"), e))?;
    Ok(link.index)
}

/// A sandbox must not become the host's IPv6 router by advertising itself on the bridge (CVE-2020-10749). A bridge
/// without IPv6 has none of it, not even a link-local address; on one with IPv6 nobody else can have its addresses, and
/// waiting for an objection would keep its sandboxes unreachable for two seconds.
fn set_ipv6_of_bridge(bridge: &str, ipv6: bool) -> io::Result<()> {
    let settings: &[_] = if ipv6 { &[("accept_ra", "0"), ("accept_dad", "0")] } else { &[("disable_ipv6", "1")] };
    for (setting, value) in settings {
        match std::fs::write(format!("/proc/sys/net/ipv6/conf/{bridge}/{setting}"), value) {
            // This kernel has no IPv6 at all.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

/// Lets this host's connections to a port published on `127.0.0.0/8` out by the bridge, once they are translated. What
/// sandboxes send to or from such addresses, which the kernel no longer stops on this interface, the rules drop.
fn route_loopback(record: &NetworkRecord, bridge: &str) -> io::Result<()> {
    let path = format!("/proc/sys/net/ipv4/conf/{bridge}/route_localnet");
    if record.internal || std::fs::read(&path)?.starts_with(b"1") {
        return Ok(());
    }
    std::fs::write(path, "1")
}

pub(super) fn find(socket: &mut Socket, name: &str) -> Result<Option<netlink::Link>> {
    netlink::find_link(socket, name).map_err(|e| failed(format!("look for link {name}"), e))
}

/// A fixed address from the network's id, locally administered: sandboxes' neighbour tables stay right when the bridge
/// is made again.
fn bridge_mac(record: &NetworkRecord) -> [u8; 6] {
    let mut mac = [0x02, 0x42, 0, 0, 0, 0];
    for (byte, pair) in mac[2..].iter_mut().zip(record.id.as_str().as_bytes().chunks(2)) {
        *byte = std::str::from_utf8(pair).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or_default();
    }
    mac
}

/// Removes a network's bridge; one that is not there is no error.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn remove_link(name: &str) -> Result<()> {
    netlink::remove_link(&mut route_socket()?, name).map_err(|e| failed(format!("remove link {name}"), e))?;
    Ok(())
}

/// Makes the links of endpoints: host ends up and in their bridges, peers up, addressed and routed in `netns`.
///
/// # Errors
/// When the kernel refuses a step; links made so far are left for the caller to remove.
pub(super) fn plug(netns: BorrowedFd<'_>, plugs: &[Plug]) -> Result<()> {
    let mut socket = route_socket()?;
    for plug in plugs {
        let endpoint = &plug.endpoint;
        if plug.network.bridge.is_none() {
            parent::plug(&mut socket, netns, plug)?;
            continue;
        }
        let master = ensure_bridge_with(&mut socket, &plug.network, plug.mtu)?;
        let spec = VethSpec {
            name: &endpoint.host_interface,
            master,
            peer_netns: netns,
            peer_name: &endpoint.interface,
            peer_mac: endpoint.mac,
            mtu: plug.mtu,
        };
        netlink::create_veth(&mut socket, &spec).map_err(|e| {
            failed(format!("make interface {} in network {}", endpoint.interface, plug.network.name), e)
        })?;
        if plug.network.options.get(OPTION_ICC).is_some_and(|v| v == "false") {
            set_port_flag(&mut socket, &endpoint.host_interface, BridgePortFlag::Isolated)?;
        }
        if !endpoint.ports.is_empty() && bridge_netfilter() {
            set_port_flag(&mut socket, &endpoint.host_interface, BridgePortFlag::Hairpin)?;
        }
    }
    netns::within(netns, || {
        let mut socket = Socket::open(Protocol::Route, 0)?;
        plugs.iter().try_for_each(|plug| address_peer(&mut socket, plug))
    })
    .map_err(|e| failed("set the addresses and routes of the sandbox", e))?;
    for plug in plugs.iter().filter(|plug| plug.network.bridge.is_some()) {
        let bridge = plug.network.bridge.iter().map(String::as_str);
        for link in std::iter::once(plug.endpoint.host_interface.as_str()).chain(bridge) {
            wait_operational(&mut socket, link).map_err(|e| failed(format!("wait for link {link}"), e))?;
        }
    }
    Ok(())
}

fn wait_operational(socket: &mut Socket, name: &str) -> io::Result<()> {
    if !netlink::wait_operational(socket, name, OPERATIONAL_WAIT_MAX)? {
        tracing::debug!(link = name, "not operational yet: its first packets may be lost");
    }
    Ok(())
}

fn set_port_flag(socket: &mut Socket, host_interface: &str, flag: BridgePortFlag) -> Result<()> {
    let link = find(socket, host_interface)?.ok_or_else(|| Error::internal("the new veth is gone"))?;
    netlink::set_bridge_port_flag(socket, link.index, flag)
        .map_err(|e| failed(format!("set bridge port {host_interface} to {flag:?}"), e))
}

/// Whether frames inside of a bridge pass the rules: a published port is then translated before the frame leaves its
/// bridge, and for the sandbox itself the way back is the port that it came in by.
fn bridge_netfilter() -> bool {
    let is_on = |name| std::fs::read(format!("/proc/sys/net/bridge/{name}")).is_ok_and(|text| text.starts_with(b"1"));
    is_on("bridge-nf-call-iptables") || is_on("bridge-nf-call-ip6tables")
}

fn address_peer(socket: &mut Socket, plug: &Plug) -> io::Result<()> {
    let EndpointRecord { interface, ipv4, ipv6, .. } = &plug.endpoint;
    let link = netlink::find_link(socket, interface)?.ok_or_else(|| io::Error::other("the new interface is gone"))?;
    if ipv6.is_some() {
        // Off by default in every namespace we make, so that a network without IPv6 has none at all.
        std::fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/accept_dad"), "0")?;
        std::fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"), "0")?;
    }
    netlink::set_link_up(socket, link.index)?;
    let nets = ipv4.map(IpNet::V4).into_iter().chain(ipv6.map(IpNet::V6));
    for net in nets {
        let address = Address { link: link.index, ip: net.addr(), prefix: net.prefix_len() };
        netlink::add_address(socket, &address)?;
        let default_route = if ipv6_net(net) { plug.endpoint.default_route_v6 } else { plug.endpoint.default_route };
        if let Some(gateway) = gateway_for(&plug.network, net).filter(|_| default_route) {
            netlink::add_default_route(socket, link.index, gateway)?;
        }
    }
    wait_operational(socket, interface)?;
    if let Some(net) = ipv6
        && !netlink::wait_usable(socket, net.addr().into(), OPERATIONAL_WAIT_MAX)?
    {
        tracing::debug!(address = %net.addr(), "not usable yet: first packets may have another source");
    }
    Ok(())
}

fn ipv6_net(net: IpNet) -> bool {
    matches!(net, IpNet::V6(_))
}

/// Where one family's traffic leaves a sandbox by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DefaultRoute {
    pub(super) ipv6: bool,
    /// Interface in the sandbox and next hop; none takes the route away.
    pub(super) via: Option<(String, IpAddr)>,
}

/// Moves default routes in a sandbox: each in one step, so that no packet finds none.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn move_default_routes(netns: BorrowedFd<'_>, routes: &[DefaultRoute]) -> Result<()> {
    netns::within(netns, || {
        let mut socket = Socket::open(Protocol::Route, 0)?;
        for route in routes {
            match &route.via {
                None => netlink::remove_default_route(&mut socket, route.ipv6)?,
                Some((interface, gateway)) => {
                    let link = netlink::find_link(&mut socket, interface)?;
                    let link = link.ok_or_else(|| io::Error::other(format!("interface {interface} is gone")))?;
                    netlink::replace_default_route(&mut socket, link.index, *gateway)?;
                }
            }
        }
        Ok(())
    })
    .map_err(|e| failed("move the default route of the sandbox", e))
}

/// The next hop out of a network for an address in it; none from an internal network.
pub(super) fn gateway_for(network: &NetworkRecord, net: IpNet) -> Option<IpAddr> {
    let pool = network.ipam.iter().find(|pool| pool.subnet.is_some_and(|subnet| subnet.contains(&net.addr())))?;
    pool.gateway.filter(|_| !network.internal)
}

/// After a start: puts the host ends of living endpoints back into their bridge, should it have been made again.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn readopt(record: &NetworkRecord, bridge_index: u32, host_interfaces: &[String]) -> Result<()> {
    let mut socket = route_socket()?;
    let links = netlink::list_links(&mut socket).map_err(|e| failed("list links", e))?;
    let mut adopted = false;
    for link in links.iter().filter(|l| l.master != Some(bridge_index) && host_interfaces.contains(&l.name)) {
        netlink::set_link_master(&mut socket, link.index, bridge_index)
            .map_err(|e| failed(format!("put link {} into its bridge", link.name), e))?;
        adopted = true;
    }
    if let Some(bridge) = record.bridge.as_deref().filter(|_| adopted) {
        wait_operational(&mut socket, bridge).map_err(|e| failed(format!("wait for link {bridge}"), e))?;
    }
    Ok(())
}

/// Lets the host forward packets of the address families that a network has. Says so when it changes something.
///
/// # Errors
/// When the setting cannot be written: /proc/sys is read-only, or the privilege is missing.
pub(super) fn enable_forwarding(ipv6: bool) -> Result<()> {
    let mut settings = vec!["/proc/sys/net/ipv4/ip_forward"];
    if ipv6 {
        settings.push("/proc/sys/net/ipv6/conf/all/forwarding");
    }
    for path in settings {
        let now = std::fs::read_to_string(path).map_err(|e| failed(format!("read {path}"), e))?;
        if now.trim() == "0" {
            std::fs::write(path, "1").map_err(|e| failed(format!("switch forwarding on in {path}"), e))?;
            tracing::info!(path, "switched forwarding on: networks need it");
        }
    }
    Ok(())
}

/// Whether there is a link called `name`.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn link_exists(name: &str) -> Result<bool> {
    Ok(find(&mut route_socket()?, name)?.is_some())
}

/// Forgets the UDP flows that a published port translated to `target`.
///
/// # Errors
/// When the kernel has no connection tracking over netlink.
pub(super) fn forget_udp_flows(target: IpAddr, host_port: u16) -> io::Result<usize> {
    let mut socket = Socket::open(Protocol::Netfilter, 0)?;
    netlink::flush_udp_port(&mut socket, target, host_port)
}
