//! PURE. A create request -> [`ContainerSpec`]. No field is passed over in silence: it is honoured, or refused by name.
//!
//! | Fields of HostConfig | What becomes of them |
//! |---|---|
//! | Binds, Mounts, Tmpfs, VolumesFrom, VolumeDriver | `mounts` ([`mounts`]); mounts of kind `npipe`, `cluster` are refused |
//! | LogConfig | `log` ([`log`]): `json-file`, `local`, `syslog`, `journald`, `none` with docker's options; other drivers and options are refused |
//! | NetworkMode, PortBindings, PublishAllPorts, Dns\*, ExtraHosts, Links | the sandbox ([`network`]) |
//! | RestartPolicy, AutoRemove, Init, Runtime, Annotations, ConsoleSize, GroupAdd | as they are |
//! | CapAdd, CapDrop, Privileged, SecurityOpt, ReadonlyRootfs, MaskedPaths, ReadonlyPaths | `security` ([`security`]) |
//! | CgroupnsMode, IpcMode, PidMode, UTSMode, UsernsMode | `namespaces` and the sandbox; IpcMode `none`, UsernsMode beside `host` are refused |
//! | CpuShares … Ulimits, NanoCpus, OomScoreAdj, PidsLimit, Blkio\* | `resources` ([`resources`]); KernelMemory is refused |
//! | CgroupParent, ShmSize, Sysctls | the sandbox |
//! | Devices, DeviceCgroupRules | as they are; DeviceRequests: driver `cdi` only |
//! | ContainerIDFile | the client's own affair, given back in inspect |
//! | Cgroup, StorageOpt, Isolation, CpuCount, CpuPercent, IOMaximum\* | refused: not for this engine |
//!
//! Of Config: AttachStdin/out/err and OnBuild change nothing here (the client attaches), Shell is given back in inspect.

pub(crate) mod log;
mod mounts;
mod network;
mod resources;
mod security;

use std::collections::BTreeMap;
use std::sync::Arc;

use docker_api::container::{Config, HealthConfig, HostConfig, RestartPolicy as WirePolicy};
use docker_api::network::NetworkingConfig;
use engine::container::ContainerView;
use engine::id::Owner;
use engine::spec::{
    ContainerSpec, DeviceSpec, HealthSpec, NamespaceMode, NamespaceSpec, ProcessSpec, RestartPolicy, SandboxChoice,
    SandboxSpec, UserNamespaceSpec,
};
use engine::{Error, Result};

pub(crate) use network::{endpoint, parse_port};
pub(crate) use resources::{resources, ulimits};

/// Healthcheck durations below this are refused, as dockerd does.
const HEALTH_DURATION_MIN_NS: i64 = 1_000_000;

/// Finds a container that the request names (`container:X`, VolumesFrom).
pub(crate) type Find<'a> = &'a dyn Fn(&str) -> Result<Arc<ContainerView>>;

/// A create request and the facts that its translation needs.
pub(crate) struct CreateRequest<'a> {
    /// Query `name`.
    pub(crate) name: &'a str,
    /// Query `platform`.
    pub(crate) platform: &'a str,
    /// Body.
    pub(crate) config: &'a Config,
    /// Body.
    pub(crate) host: &'a HostConfig,
    /// Body.
    pub(crate) networks: &'a NetworkingConfig,
    /// Ports that the image exposes, for PublishAllPorts.
    pub(crate) image_ports: &'a [String],
    /// 1 or 2: decides the default of CgroupnsMode.
    pub(crate) cgroup_version: u8,
    /// CPUs of the node: the most that NanoCpus may ask for.
    pub(crate) cpus: usize,
    /// Other containers.
    pub(crate) find: Find<'a>,
    /// The body as it came, to be given back by inspect.
    pub(crate) document: String,
}

/// The whole translation.
///
/// # Errors
/// `InvalidArgument` or `NotImplemented` naming the field and the reason; `NotFound` for a container it refers to.
pub(crate) fn container_spec(request: CreateRequest<'_>) -> Result<ContainerSpec> {
    let CreateRequest { config, host, .. } = request;
    refuse_unsupported(config, host)?;
    let namespaces = namespaces(&request)?;
    let sandbox = sandbox(&request, &namespaces)?;
    Ok(ContainerSpec {
        owner: Owner::Docker,
        name: request.name.trim_start_matches('/').to_owned(),
        image: config.image.clone(),
        image_display: String::new(),
        platform: request.platform.to_owned(),
        labels: config.labels.clone(),
        annotations: host.annotations.clone(),
        sandbox: SandboxChoice::Own(Box::new(sandbox)),
        process: process(config, host)?,
        namespaces,
        mounts: mounts::mounts(config, host, request.find)?,
        image_volumes: true,
        resources: resources(host, request.cpus)?,
        security: security::security(host)?,
        devices: host.devices.iter().flatten().map(device).collect(),
        exposed_ports: exposed_ports(config)?,
        cdi_devices: cdi_devices(host)?,
        device_cgroup_rules: host.device_cgroup_rules.clone().unwrap_or_default(),
        log: log::spec(&host.log_config)?,
        init: host.init.unwrap_or(false),
        restart: restart_policy(&host.restart_policy, host.auto_remove)?,
        auto_remove: host.auto_remove,
        stop_signal: config.stop_signal.clone(),
        stop_timeout_s: config.stop_timeout,
        health: config.healthcheck.as_ref().map(health).transpose()?,
        runtime: host.runtime.clone(),
        attempt: 0,
        door_document: request.document,
    })
}

fn refuse_unsupported(config: &Config, host: &HostConfig) -> Result<()> {
    let refuse = |field: &str, why: &str| Err(Error::invalid(format!("HostConfig.{field}: {why}")));
    if config.image.is_empty() {
        return Err(Error::invalid("Image: no image was named"));
    }
    if !host.cgroup.is_empty() {
        return refuse("Cgroup", "joining the cgroup of another container is not supported");
    }
    if !host.storage_opt.is_empty() {
        return refuse("StorageOpt", "the overlay snapshotter has no options of a single container");
    }
    if !matches!(host.isolation.as_str(), "" | "default") {
        return refuse("Isolation", &format!("{:?} is not supported on Linux", host.isolation));
    }
    if host.kernel_memory != 0 {
        return refuse("KernelMemory", "kernel memory limits were removed from Linux");
    }
    if config.args_escaped {
        return Err(Error::invalid("ArgsEscaped: is for Windows only"));
    }
    let windows = [
        ("CpuCount", host.cpu_count != 0),
        ("CpuPercent", host.cpu_percent != 0),
        ("IOMaximumIOps", host.io_maximum_iops != 0),
        ("IOMaximumBandwidth", host.io_maximum_bandwidth != 0),
    ];
    match windows.iter().find(|(_, set)| *set) {
        Some((field, _)) => refuse(field, "is for Windows only"),
        None => Ok(()),
    }
}

fn process(config: &Config, host: &HostConfig) -> Result<ProcessSpec> {
    let entrypoint = config.entrypoint.as_ref().map(|list| list.0.clone());
    // `[""]` is how clients clear the image's entrypoint.
    let entrypoint = entrypoint.map(|list| if list == [""] { Vec::new() } else { list });
    let cmd = config.cmd.as_ref().map(|list| list.0.clone()).filter(|list| !list.is_empty());
    Ok(ProcessSpec {
        entrypoint,
        cmd,
        env: config.env.clone().unwrap_or_default(),
        cwd: config.working_dir.clone(),
        user: config.user.clone(),
        additional_groups: host.group_add.clone().unwrap_or_default(),
        groups_from_image: true,
        tty: config.tty,
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        console_size: console_size("HostConfig.ConsoleSize", host.console_size)?,
    })
}

/// `[height, width]`; zeros mean not given.
pub(crate) fn console_size(field: &str, [height, width]: [u32; 2]) -> Result<Option<(u16, u16)>> {
    if height == 0 && width == 0 {
        return Ok(None);
    }
    let wrong = |_| Error::invalid(format!("{field}: [{height}, {width}] is not a terminal's size"));
    Ok(Some((u16::try_from(height).map_err(wrong)?, u16::try_from(width).map_err(wrong)?)))
}

/// `host`, `container:X`, or a word that stands for a private one.
fn namespace(field: &str, word: &str, private: &[&str], find: Find<'_>) -> Result<NamespaceMode> {
    if word.is_empty() || private.contains(&word) {
        return Ok(NamespaceMode::Private);
    }
    if word == "host" {
        return Ok(NamespaceMode::Host);
    }
    match word.strip_prefix("container:") {
        Some("") => Err(Error::invalid(format!("HostConfig.{field}: {word:?} names no container"))),
        Some(name) => Ok(NamespaceMode::Container(find(name)?.id.clone())),
        None => Err(Error::invalid(format!("HostConfig.{field}: invalid mode: {word}"))),
    }
}

fn namespaces(request: &CreateRequest<'_>) -> Result<NamespaceSpec> {
    let host = request.host;
    let cgroup = match host.cgroupns_mode.as_str() {
        "private" => NamespaceMode::Private,
        "host" => NamespaceMode::Host,
        // dockerd's default: private on cgroup v2, and the host's on v1 or for privileged containers.
        "" if request.cgroup_version == 2 && !host.privileged => NamespaceMode::Private,
        "" => NamespaceMode::Host,
        other => return Err(Error::invalid(format!("HostConfig.CgroupnsMode: invalid CgroupNS mode: {other}"))),
    };
    if host.ipc_mode == "none" {
        return Err(Error::not_implemented("HostConfig.IpcMode: none (no /dev/shm at all) is not supported"));
    }
    if host.uts_mode.starts_with("container:") {
        return Err(Error::invalid(format!("HostConfig.UTSMode: invalid UTS mode: {}", host.uts_mode)));
    }
    Ok(NamespaceSpec {
        pid: namespace("PidMode", &host.pid_mode, &["private"], request.find)?,
        ipc: namespace("IpcMode", &host.ipc_mode, &["private", "shareable"], request.find)?,
        uts: namespace("UTSMode", &host.uts_mode, &[], request.find)?,
        cgroup,
    })
}

fn sandbox(request: &CreateRequest<'_>, namespaces: &NamespaceSpec) -> Result<SandboxSpec> {
    let CreateRequest { config, host, .. } = request;
    if !matches!(host.userns_mode.as_str(), "" | "host") {
        return Err(Error::invalid(format!("HostConfig.UsernsMode: invalid USER mode: {}", host.userns_mode)));
    }
    if namespaces.uts == NamespaceMode::Host && !config.hostname.is_empty() {
        return Err(Error::invalid("conflicting options: hostname and the UTS mode"));
    }
    let shm_bytes = u64::try_from(host.shm_size)
        .map_err(|_| Error::invalid(format!("HostConfig.ShmSize: {} can not be less than 0", host.shm_size)))?;
    let network = network::network(request)?;
    Ok(SandboxSpec {
        owner: Owner::Docker,
        name: String::new(),
        pod: None,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        hostname: config.hostname.clone(),
        domainname: config.domainname.clone(),
        network: network.mode,
        ports: network.ports,
        dns: network.dns,
        extra_hosts: host.extra_hosts.clone().unwrap_or_default(),
        ipc: namespaces.ipc.clone(),
        pid: NamespaceMode::Private,
        uts: namespaces.uts.clone(),
        user: UserNamespaceSpec::Host,
        sysctls: host.sysctls.clone(),
        cgroup_parent: host.cgroup_parent.clone(),
        log_directory: String::new(),
        runtime: host.runtime.clone(),
        resources: Default::default(),
        security: Default::default(),
        shm_bytes,
        door_document: String::new(),
    })
}

fn device(mapping: &docker_api::container::DeviceMapping) -> DeviceSpec {
    let or = |text: &str, default: &str| if text.is_empty() { default.to_owned() } else { text.to_owned() };
    DeviceSpec {
        host_path: mapping.path_on_host.clone(),
        container_path: or(&mapping.path_in_container, &mapping.path_on_host),
        permissions: or(&mapping.cgroup_permissions, "rwm"),
    }
}

/// ExposedPorts in their whole form, `80/tcp`.
fn exposed_ports(config: &Config) -> Result<Vec<String>> {
    let whole = |port: &String| {
        network::parse_port(port)?;
        Ok(if port.contains('/') { port.to_ascii_lowercase() } else { format!("{port}/tcp") })
    };
    config.exposed_ports.keys().map(whole).collect()
}

fn cdi_devices(host: &HostConfig) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for request in host.device_requests.iter().flatten() {
        if request.driver != "cdi" {
            return Err(Error::invalid(format!(
                "HostConfig.DeviceRequests: could not select device driver {:?} with capabilities: {:?} (only cdi)",
                request.driver,
                request.capabilities.clone().unwrap_or_default()
            )));
        }
        names.extend(request.device_ids.iter().flatten().cloned());
    }
    Ok(names)
}

/// Go's `strconv.ParseBool`.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A restart policy; also used by update.
///
/// # Errors
/// `InvalidArgument` with docker's words.
pub(crate) fn restart_policy(wanted: &WirePolicy, auto_remove: bool) -> Result<RestartPolicy> {
    let retries = wanted.maximum_retry_count;
    let without_retries = |policy: RestartPolicy| match retries {
        0 => Ok(policy),
        _ => Err(Error::invalid(format!(
            "invalid restart policy: maximum retry count can only be used with 'on-failure', not {:?}",
            wanted.name
        ))),
    };
    let policy = match wanted.name.as_str() {
        "" | "no" => without_retries(RestartPolicy::No)?,
        "always" => without_retries(RestartPolicy::Always)?,
        "unless-stopped" => without_retries(RestartPolicy::UnlessStopped)?,
        "on-failure" => RestartPolicy::OnFailure {
            max_retries: u32::try_from(retries).map_err(|_| {
                Error::invalid("invalid restart policy: maximum retry count cannot be negative".to_owned())
            })?,
        },
        other => {
            return Err(Error::invalid(format!(
                "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            )));
        }
    };
    if auto_remove && policy != RestartPolicy::No {
        return Err(Error::invalid("can't create 'AutoRemove' container with restart policy"));
    }
    Ok(policy)
}

fn health(wanted: &HealthConfig) -> Result<HealthSpec> {
    let durations = [
        ("Interval", wanted.interval),
        ("Timeout", wanted.timeout),
        ("StartPeriod", wanted.start_period),
        ("StartInterval", wanted.start_interval),
    ];
    if let Some((field, _)) = durations.iter().find(|(_, ns)| *ns != 0 && *ns < HEALTH_DURATION_MIN_NS) {
        return Err(Error::invalid(format!("{field} in Healthcheck cannot be less than 1ms")));
    }
    let test = &wanted.test;
    match test.first().map(String::as_str) {
        None | Some("NONE") => {}
        Some("CMD" | "CMD-SHELL") if test.len() > 1 => {}
        Some(word) => {
            return Err(Error::invalid(format!(
                "Unknown Healthcheck type '{word}' (CMD, CMD-SHELL or NONE, with a command)"
            )));
        }
    }
    Ok(HealthSpec {
        test: test.clone(),
        interval_ns: wanted.interval,
        timeout_ns: wanted.timeout,
        start_period_ns: wanted.start_period,
        start_interval_ns: wanted.start_interval,
        retries: u32::try_from(wanted.retries)
            .map_err(|_| Error::invalid("Retries in Healthcheck cannot be negative"))?,
    })
}

#[cfg(test)]
mod tests;
