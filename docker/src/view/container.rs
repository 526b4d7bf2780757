//! PURE. A container in lists and in inspect.

use std::collections::{BTreeMap, BTreeSet};

use docker_api::container::{
    ContainerInspect, ContainerState, ContainerSummary, CreateExtras, GraphDriver, Health, HealthResult, MountPoint,
    NetworkSettings, Port, PortBinding, SummaryHostConfig, SummaryNetworkSettings,
};
use docker_api::network::{EndpointIpam, EndpointSettings};
use engine::container::{ContainerView, MountView, Phase};
use engine::sandbox::{EndpointInfo, SandboxView};
use engine::spec::{EndpointSpec, LogSpec, NetworkMode, Protocol, SandboxChoice, SandboxSpec};

use super::host_config::{config, host_config, network_word};
use super::status;
use crate::time::rfc3339;

/// The snapshotter's name, where docker shows its storage driver.
pub(crate) const STORAGE_DRIVER: &str = "overlayfs";

/// What of the rest of the engine a container's answers need.
pub(crate) struct Surroundings<'a> {
    /// Its sandbox, if it is still known.
    pub(crate) sandbox: Option<&'a SandboxView>,
    /// Name of the default runtime handler.
    pub(crate) default_runtime: &'a str,
    /// Image as it is to be shown: its name, or its id when the name now means another image.
    pub(crate) image: &'a str,
    /// Id of a network by its name.
    pub(crate) network_id: &'a dyn Fn(&str) -> Option<String>,
}

fn protocol_word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

/// Whether a process runs, paused ones included.
pub(crate) fn is_running(phase: Phase) -> bool {
    matches!(phase, Phase::Running | Phase::Paused | Phase::Restarting)
}

fn sandbox_spec<'a>(view: &'a ContainerView, around: &Surroundings<'a>) -> Option<&'a SandboxSpec> {
    match &view.spec.sandbox {
        // The sandbox's own record is newer: networks come and go.
        SandboxChoice::Own(own) => Some(around.sandbox.map_or(own, |sandbox| &sandbox.spec)),
        SandboxChoice::Pod(_) => around.sandbox.map(|sandbox| &*sandbox.spec),
    }
}

/// One row of `GET /containers/json`.
pub(crate) fn summary(view: &ContainerView, around: &Surroundings<'_>, now_ns: i64) -> ContainerSummary {
    let sandbox = sandbox_spec(view, around);
    ContainerSummary {
        id: view.id.to_string(),
        names: vec![format!("/{}", view.name)],
        image: around.image.to_owned(),
        image_id: view.image_id.to_string(),
        image_manifest_descriptor: None,
        command: command_line(&view.resolved.path, &view.resolved.args),
        created: view.created_ns / 1_000_000_000,
        ports: list_ports(view),
        size_rw: 0,
        size_root_fs: 0,
        labels: view.resolved.labels.clone(),
        state: status::state(view.phase).to_owned(),
        status: status::status(view, now_ns),
        host_config: SummaryHostConfig {
            network_mode: sandbox.map(|sandbox| network_word(&sandbox.network)).unwrap_or_default(),
            annotations: view.spec.annotations.clone(),
        },
        network_settings: SummaryNetworkSettings { networks: networks(view, sandbox, around) },
        mounts: view.mounts.iter().map(mount_point).collect(),
    }
}

/// Arguments with a blank stand in quotes.
fn command_line(path: &str, args: &[String]) -> String {
    let quoted = args.iter().map(|arg| if arg.contains(' ') { format!("'{arg}'") } else { arg.clone() });
    std::iter::once(path.to_owned()).chain(quoted).collect::<Vec<_>>().join(" ")
}

fn list_ports(view: &ContainerView) -> Vec<Port> {
    if !is_running(view.phase) {
        return Vec::new();
    }
    let mut ports: BTreeSet<Port> = BTreeSet::new();
    let mut published = BTreeSet::new();
    for port in &view.ports {
        published.insert(format!("{}/{}", port.container_port, protocol_word(port.protocol)));
        ports.insert(Port {
            ip: port.host_ip.to_string(),
            private_port: port.container_port,
            public_port: port.host_port,
            kind: protocol_word(port.protocol).to_owned(),
        });
    }
    for exposed in view.resolved.exposed_ports.iter().filter(|port| !published.contains(*port)) {
        let (port, protocol) = exposed.split_once('/').unwrap_or((exposed, "tcp"));
        if let Ok(private_port) = port.parse() {
            ports.insert(Port { private_port, kind: protocol.to_owned(), ..Port::default() });
        }
    }
    ports.into_iter().collect()
}

/// dockerd tells the path only of logs that others can read.
fn log_path(view: &ContainerView) -> String {
    match view.spec.log {
        LogSpec::JsonFile { .. } | LogSpec::Cri { .. } => view.log_path.clone(),
        _ => String::new(),
    }
}

/// `GET /containers/{id}/json`.
pub(crate) fn inspect(view: &ContainerView, around: &Surroundings<'_>) -> ContainerInspect {
    let sandbox = sandbox_spec(view, around);
    let (resolv_conf_path, hostname_path, hosts_path) = view.etc_paths.clone();
    let exec_ids: Vec<String> = view.exec_ids.iter().map(ToString::to_string).collect();
    ContainerInspect {
        id: view.id.to_string(),
        created: rfc3339(view.created_ns),
        path: view.resolved.path.clone(),
        args: view.resolved.args.clone(),
        state: state(view),
        image: view.image_id.to_string(),
        resolv_conf_path,
        hostname_path,
        hosts_path,
        log_path: log_path(view),
        name: format!("/{}", view.name),
        restart_count: view.restart_count,
        driver: STORAGE_DRIVER.into(),
        platform: "linux".into(),
        mount_label: String::new(),
        process_label: String::new(),
        app_armor_profile: String::new(),
        exec_ids: (!exec_ids.is_empty()).then_some(exec_ids),
        host_config: host_config(view, sandbox, around.default_runtime),
        graph_driver: GraphDriver { data: None, name: STORAGE_DRIVER.into() },
        size_rw: None,
        size_root_fs: None,
        mounts: mount_points(view),
        config: config(view, sandbox),
        network_settings: network_settings(view, sandbox, around),
        image_manifest_descriptor: None,
    }
}

fn state(view: &ContainerView) -> ContainerState {
    ContainerState {
        status: status::state(view.phase).to_owned(),
        running: is_running(view.phase),
        paused: view.phase == Phase::Paused,
        restarting: view.phase == Phase::Restarting,
        oom_killed: view.oom_killed,
        dead: view.phase == Phase::Dead,
        pid: view.pid,
        exit_code: view.exit_code,
        error: view.error.clone(),
        started_at: rfc3339(view.started_ns),
        finished_at: rfc3339(view.finished_ns),
        health: view.health.as_ref().map(|health| Health {
            status: health.status.clone(),
            failing_streak: health.failing_streak,
            log: health.log.iter().map(health_result).collect(),
        }),
    }
}

fn health_result((start_ns, end_ns, exit_code, output): &(i64, i64, i32, String)) -> HealthResult {
    HealthResult { start: rfc3339(*start_ns), end: rfc3339(*end_ns), exit_code: *exit_code, output: output.clone() }
}

/// A tmpfs of `--tmpfs` is shown in HostConfig only; one of `--mount` here too.
fn mount_points(view: &ContainerView) -> Vec<MountPoint> {
    let extras: CreateExtras = docker_api::from_slice(view.spec.door_document.as_bytes()).unwrap_or_default();
    let shown = view.mounts.iter().filter(|mount| !extras.host_config.tmpfs.contains_key(&mount.destination));
    shown.map(mount_point).collect()
}

fn mount_point(mount: &MountView) -> MountPoint {
    MountPoint {
        kind: mount.kind.clone(),
        name: mount.name.clone(),
        source: mount.source.clone(),
        destination: mount.destination.clone(),
        driver: mount.driver.clone(),
        mode: mount.mode.clone(),
        rw: mount.rw,
        propagation: mount.propagation.clone(),
    }
}

fn network_settings(view: &ContainerView, sandbox: Option<&SandboxSpec>, around: &Surroundings<'_>) -> NetworkSettings {
    let networks = networks(view, sandbox, around);
    let mut settings = NetworkSettings {
        sandbox_id: view.sandbox_id.to_string(),
        sandbox_key: around.sandbox.map(|sandbox| sandbox.netns_path.clone()).unwrap_or_default(),
        ports: port_map(view),
        ..NetworkSettings::default()
    };
    // The older form repeats the endpoint on the default bridge.
    if let Some(bridge) = networks.get("bridge") {
        settings.endpoint_id = bridge.endpoint_id.clone();
        settings.gateway = bridge.gateway.clone();
        settings.ip_address = bridge.ip_address.clone();
        settings.ip_prefix_len = bridge.ip_prefix_len;
        settings.ipv6_gateway = bridge.ipv6_gateway.clone();
        settings.global_ipv6_address = bridge.global_ipv6_address.clone();
        settings.global_ipv6_prefix_len = bridge.global_ipv6_prefix_len;
        settings.mac_address = bridge.mac_address.clone();
    }
    settings.networks = networks;
    settings
}

fn port_map(view: &ContainerView) -> BTreeMap<String, Option<Vec<PortBinding>>> {
    let mut map: BTreeMap<String, Option<Vec<PortBinding>>> = BTreeMap::new();
    if !is_running(view.phase) {
        return map;
    }
    for port in &view.resolved.exposed_ports {
        map.insert(port.clone(), None);
    }
    for port in &view.ports {
        let key = format!("{}/{}", port.container_port, protocol_word(port.protocol));
        let binding = PortBinding { host_ip: port.host_ip.to_string(), host_port: port.host_port.to_string() };
        map.entry(key).or_default().get_or_insert_default().push(binding);
    }
    map
}

/// Endpoints by network: those that are up, else those that are wanted.
fn networks(
    view: &ContainerView,
    sandbox: Option<&SandboxSpec>,
    around: &Surroundings<'_>,
) -> BTreeMap<String, EndpointSettings> {
    let wanted: &[EndpointSpec] = match sandbox.map(|sandbox| &sandbox.network) {
        Some(NetworkMode::Networks(list)) => list,
        Some(NetworkMode::Host) => return BTreeMap::from([plain("host", around)]),
        Some(NetworkMode::None) => return BTreeMap::from([plain("none", around)]),
        _ => &[],
    };
    let mut map: BTreeMap<String, EndpointSettings> =
        wanted.iter().map(|spec| (spec.network.clone(), wanted_endpoint(spec, around))).collect();
    for info in &view.endpoints {
        let names = [info.network_name.as_str(), info.network_id.as_str(), info.network_id.short()];
        let asked = wanted.iter().find(|spec| names.contains(&spec.network.as_str()));
        if let Some(spec) = asked {
            map.remove(&spec.network);
        }
        map.insert(info.network_name.clone(), endpoint(info, asked, view));
    }
    map
}

fn plain(name: &str, around: &Surroundings<'_>) -> (String, EndpointSettings) {
    let network_id = (around.network_id)(name).unwrap_or_default();
    (name.to_owned(), EndpointSettings { network_id, ..EndpointSettings::default() })
}

fn wanted_endpoint(spec: &EndpointSpec, around: &Surroundings<'_>) -> EndpointSettings {
    EndpointSettings {
        ipam_config: ipam_config(spec),
        links: links(spec),
        aliases: (!spec.aliases.is_empty()).then(|| spec.aliases.clone()),
        gw_priority: spec.gateway_priority,
        network_id: (around.network_id)(&spec.network).unwrap_or_default(),
        driver_opts: (!spec.options.is_empty()).then(|| spec.options.clone()),
        ..EndpointSettings::default()
    }
}

fn links(spec: &EndpointSpec) -> Option<Vec<String>> {
    let text = |(name, alias): &(String, String)| format!("{name}:{alias}");
    (!spec.links.is_empty()).then(|| spec.links.iter().map(text).collect())
}

fn ipam_config(spec: &EndpointSpec) -> Option<EndpointIpam> {
    (spec.ipv4.is_some() || spec.ipv6.is_some()).then(|| EndpointIpam {
        ipv4_address: spec.ipv4.map(|ip| ip.to_string()).unwrap_or_default(),
        ipv6_address: spec.ipv6.map(|ip| ip.to_string()).unwrap_or_default(),
        link_local_ips: Vec::new(),
    })
}

fn endpoint(info: &EndpointInfo, asked: Option<&EndpointSpec>, view: &ContainerView) -> EndpointSettings {
    let text = |ip: Option<String>| ip.unwrap_or_default();
    let dns_names = (info.network_name != "bridge").then(|| {
        let mut names = vec![view.name.clone()];
        names.extend(info.aliases.iter().filter(|alias| **alias != view.name).cloned());
        if !names.iter().any(|name| name == view.id.short()) {
            names.push(view.id.short().to_owned());
        }
        names
    });
    EndpointSettings {
        ipam_config: asked.and_then(ipam_config),
        links: asked.and_then(links),
        aliases: asked.and_then(|spec| (!spec.aliases.is_empty()).then(|| spec.aliases.clone())),
        mac_address: info.mac.clone(),
        driver_opts: asked.and_then(|spec| (!spec.options.is_empty()).then(|| spec.options.clone())),
        gw_priority: info.gateway_priority,
        network_id: info.network_id.to_string(),
        endpoint_id: info.endpoint_id.to_string(),
        gateway: text(info.gateway_ipv4.map(|ip| ip.to_string())),
        ip_address: text(info.ipv4.map(|(ip, _)| ip.to_string())),
        ip_prefix_len: info.ipv4.map_or(0, |(_, len)| len),
        ipv6_gateway: text(info.gateway_ipv6.map(|ip| ip.to_string())),
        global_ipv6_address: text(info.ipv6.map(|(ip, _)| ip.to_string())),
        global_ipv6_prefix_len: info.ipv6.map_or(0, |(_, len)| len),
        dns_names,
    }
}
