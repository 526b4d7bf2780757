//! PURE. NetworkMode, EndpointsConfig, PortBindings and DNS -> the sandbox's network.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use docker_api::container::PortBinding;
use docker_api::network::EndpointSettings;
use engine::spec::{DnsSpec, EndpointSpec, NetworkMode, PortSpec, Protocol};
use engine::{Error, Result};

use super::CreateRequest;

/// Driver option of an endpoint: its interface's name (API 1.48).
const OPTION_IFNAME: &str = "com.docker.network.endpoint.ifname";

/// What the sandbox's network is to be.
pub(super) struct Network {
    pub(super) mode: NetworkMode,
    pub(super) ports: Vec<PortSpec>,
    pub(super) dns: DnsSpec,
}

/// Translates the network fields.
///
/// # Errors
/// `InvalidArgument` naming the field; `NotFound` for `container:X`.
pub(super) fn network(request: &CreateRequest<'_>) -> Result<Network> {
    let host = request.host;
    let mode = mode(request)?;
    let dns = DnsSpec {
        servers: host.dns.clone().unwrap_or_default(),
        searches: host.dns_search.clone().unwrap_or_default(),
        options: host.dns_options.clone().unwrap_or_default(),
    };
    if matches!(mode, NetworkMode::Container(_)) {
        refuse_with_container_mode(request, &dns)?;
    }
    // Where there is no network of its own, nothing is published; dockerd drops the ports too.
    let ports = if matches!(mode, NetworkMode::Networks(_)) { ports(request)? } else { Vec::new() };
    Ok(Network { mode, ports, dns })
}

fn refuse_with_container_mode(request: &CreateRequest<'_>, dns: &DnsSpec) -> Result<()> {
    let (config, host) = (request.config, request.host);
    let conflicts = [
        ("hostname", !config.hostname.is_empty()),
        ("dns", *dns != DnsSpec::default()),
        ("custom host-to-IP mapping", host.extra_hosts.as_ref().is_some_and(|hosts| !hosts.is_empty())),
        ("mac-address", !config.mac_address.is_empty()),
        (
            "port publishing",
            host.publish_all_ports || host.port_bindings.as_ref().is_some_and(|bindings| !bindings.is_empty()),
        ),
        ("port exposing", !config.exposed_ports.is_empty()),
    ];
    match conflicts.iter().find(|(_, given)| *given) {
        Some((what, _)) => Err(Error::invalid(format!("conflicting options: {what} and the network mode"))),
        None => Ok(()),
    }
}

fn mode(request: &CreateRequest<'_>) -> Result<NetworkMode> {
    let word = request.host.network_mode.as_str();
    if request.config.network_disabled || word == "none" {
        return Ok(NetworkMode::None);
    }
    if word == "host" {
        return Ok(NetworkMode::Host);
    }
    if let Some(name) = word.strip_prefix("container:") {
        if name.is_empty() {
            return Err(Error::invalid("HostConfig.NetworkMode: invalid container format container:<name|id>"));
        }
        return Ok(NetworkMode::Container((request.find)(name)?.id.clone()));
    }
    if let Some(path) = word.strip_prefix("ns:") {
        return Err(Error::not_implemented(format!(
            "HostConfig.NetworkMode: joining the namespace {path} is not supported"
        )));
    }
    let first = canonical(word);
    let mut endpoints = Vec::new();
    let mut given: BTreeMap<&str, EndpointSettings> = BTreeMap::new();
    for (name, settings) in &request.networks.endpoints_config {
        given.insert(canonical(name), settings.clone().unwrap_or_default());
    }
    let mut main = given.remove(first).unwrap_or_default();
    if main.mac_address.is_empty() {
        request.config.mac_address.clone_into(&mut main.mac_address);
    }
    if let Some(links) = request.host.links.as_ref().filter(|links| !links.is_empty()) {
        main.links.get_or_insert_default().extend(links.iter().cloned());
    }
    endpoints.push(endpoint(first, &main)?);
    for (name, settings) in &given {
        if matches!(*name, "host" | "none") || name.starts_with("container:") {
            return Err(Error::invalid(format!(
                "NetworkingConfig.EndpointsConfig: {name} cannot be joined beside {first}"
            )));
        }
        endpoints.push(endpoint(name, settings)?);
    }
    Ok(NetworkMode::Networks(endpoints))
}

fn canonical(name: &str) -> &str {
    if matches!(name, "" | "default") { "bridge" } else { name }
}

/// One endpoint.
///
/// # Errors
/// `InvalidArgument` naming the field.
pub(crate) fn endpoint(network: &str, settings: &EndpointSettings) -> Result<EndpointSpec> {
    let wrong = |field: &str, why: String| Error::invalid(format!("EndpointsConfig.{network}.{field}: {why}"));
    let links = settings.links.iter().flatten().map(|text| link(text)).collect::<Result<_>>()?;
    let ipam = settings.ipam_config.clone().unwrap_or_default();
    if !ipam.link_local_ips.is_empty() {
        return Err(wrong("IPAMConfig.LinkLocalIPs", "link-local addresses are not supported".into()));
    }
    let ipv4 = address(&ipam.ipv4_address).map_err(|e| wrong("IPAMConfig.IPv4Address", e))?;
    let ipv6 = address(&ipam.ipv6_address).map_err(|e| wrong("IPAMConfig.IPv6Address", e))?;
    let mac = match settings.mac_address.as_str() {
        "" => None,
        text => Some(mac(text).ok_or_else(|| wrong("MacAddress", format!("{text:?} is not a MAC address")))?),
    };
    Ok(EndpointSpec {
        network: network.to_owned(),
        aliases: settings.aliases.clone().unwrap_or_default(),
        ipv4,
        ipv6,
        mac,
        gateway_priority: settings.gw_priority,
        interface: settings.driver_opts.as_ref().and_then(|options| options.get(OPTION_IFNAME).cloned()),
        links,
        options: settings.driver_opts.clone().unwrap_or_default(),
    })
    .and_then(|spec| if network == "bridge" { for_default_bridge(spec) } else { Ok(spec) })
}

/// What dockerd refuses on the default bridge, in its words.
fn for_default_bridge(spec: EndpointSpec) -> Result<EndpointSpec> {
    if spec.ipv4.is_some() || spec.ipv6.is_some() {
        return Err(Error::invalid("user specified IP address is supported on user defined networks only"));
    }
    if !spec.aliases.is_empty() {
        let message = "network-scoped alias is supported only for containers in user defined networks";
        return Err(Error::invalid(message));
    }
    Ok(spec)
}

/// `name:alias` or `name`; older clients give `/name:/other/alias`.
fn link(text: &str) -> Result<(String, String)> {
    let (name, alias) = text.split_once(':').unwrap_or((text, text));
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let (name, alias) = (last(name), last(alias));
    let fits = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic());
    if fits(&name) && fits(&alias) {
        return Ok((name, alias));
    }
    Err(Error::invalid(format!("bad format for links: {text}")))
}

fn address<A: std::str::FromStr>(text: &str) -> Result<Option<A>, String> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| format!("invalid address {text:?}")),
    }
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut bytes {
        *byte = u8::from_str_radix(parts.next().filter(|part| part.len() == 2)?, 16).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}

fn ports(request: &CreateRequest<'_>) -> Result<Vec<PortSpec>> {
    let mut list = Vec::new();
    let mut bound = BTreeSet::new();
    for (port, bindings) in request.host.port_bindings.iter().flatten() {
        let (container_port, protocol) = parse_port(port)?;
        bound.insert((container_port, protocol));
        let bindings = bindings.clone().unwrap_or_default();
        // An empty list asks for one port of the engine's choice.
        let bindings = if bindings.is_empty() { vec![PortBinding::default()] } else { bindings };
        for binding in bindings {
            list.push(publish(container_port, protocol, &binding)?);
        }
    }
    for port in request.config.exposed_ports.keys() {
        parse_port(port)?;
    }
    if request.host.publish_all_ports {
        let exposed = request.config.exposed_ports.keys().chain(request.image_ports);
        for port in exposed {
            let (container_port, protocol) = parse_port(port)?;
            if bound.insert((container_port, protocol)) {
                list.push(publish(container_port, protocol, &PortBinding::default())?);
            }
        }
    }
    Ok(list)
}

/// `80`, `80/tcp`.
pub(crate) fn parse_port(text: &str) -> Result<(u16, Protocol)> {
    let wrong = || Error::invalid(format!("invalid port specification: {text:?}"));
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" | "" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return Err(wrong()),
    };
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
    Ok((port, protocol))
}

fn publish(container_port: u16, protocol: Protocol, binding: &PortBinding) -> Result<PortSpec> {
    let wrong_port = || Error::invalid(format!("invalid port specification: {:?}", binding.host_port));
    let number = |text: &str| text.parse::<u16>().map_err(|_| wrong_port());
    let (host_port, host_port_end) = match binding.host_port.split_once('-') {
        None if binding.host_port.is_empty() => (0, 0),
        None => {
            let port = number(&binding.host_port)?;
            (port, port)
        }
        Some((first, last)) => (number(first)?, number(last)?),
    };
    if host_port_end < host_port || (host_port == 0 && host_port_end != 0) {
        return Err(wrong_port());
    }
    let host_ip: Option<IpAddr> = match binding.host_ip.trim_start_matches('[').trim_end_matches(']') {
        "" => None,
        text => Some(text.parse().map_err(|_| Error::invalid(format!("invalid IP address: {:?}", binding.host_ip)))?),
    };
    Ok(PortSpec { host_ip, host_port, host_port_end, container_port, protocol })
}
