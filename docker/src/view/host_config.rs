//! PURE. `HostConfig` and `Config` of inspect: what was asked, with the engine's defaults and later updates filled in.
//!
//! For containers of the other door there is no create body: the fields are derived from the spec.

use std::collections::BTreeMap;

use docker_api::Empty;
use docker_api::container::{
    Config, CreateExtras, HealthConfig, HostConfig, RestartPolicy as WirePolicy, StrSlice, ThrottleDevice, Ulimit,
    WeightDevice,
};
use engine::container::ContainerView;
use engine::id::Owner;
use engine::spec::{LogSpec, MountSource, NamespaceMode, NetworkMode, Resources, RestartPolicy, SandboxSpec};

/// Bytes of /dev/shm when nothing else was asked.
const SHM_BYTES_DEFAULT: i64 = 64 << 20;
/// Period that dockerd turns NanoCpus into a quota of, in microseconds.
const NANO_CPUS_PERIOD_US: i64 = 100_000;

/// Paths hidden by default, as dockerd lists them.
pub(crate) const MASKED_PATHS: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// Paths read-only by default.
pub(crate) const READONLY_PATHS: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// `HostConfig` of a container. `sandbox` is the spec of its sandbox.
pub(crate) fn host_config(view: &ContainerView, sandbox: Option<&SandboxSpec>, default_runtime: &str) -> HostConfig {
    let mut host = if view.spec.owner == Owner::Docker {
        docker_api::from_slice::<CreateExtras>(view.spec.door_document.as_bytes()).unwrap_or_default().host_config
    } else {
        derived(view, sandbox)
    };
    fill_defaults(&mut host, view, default_runtime);
    apply_resources(&mut host, &view.spec.resources);
    host.restart_policy = wire_policy(view.spec.restart);
    host
}

fn fill_defaults(host: &mut HostConfig, view: &ContainerView, default_runtime: &str) {
    let or = |text: &mut String, default: &str| {
        if text.is_empty() {
            default.clone_into(text);
        }
    };
    or(&mut host.log_config.kind, "json-file");
    if host.network_mode == "default" {
        host.network_mode.clear();
    }
    or(&mut host.network_mode, "bridge");
    or(&mut host.ipc_mode, "private");
    or(&mut host.runtime, default_runtime);
    if view.spec.namespaces.cgroup == NamespaceMode::Host {
        or(&mut host.cgroupns_mode, "host");
    }
    or(&mut host.cgroupns_mode, "private");
    if host.shm_size == 0 {
        host.shm_size = SHM_BYTES_DEFAULT;
    }
    if host.memory_swappiness == Some(-1) {
        host.memory_swappiness = None;
    }
    host.port_bindings.get_or_insert_default();
    if !host.privileged {
        let list = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        host.masked_paths.get_or_insert_with(|| list(MASKED_PATHS));
        host.readonly_paths.get_or_insert_with(|| list(READONLY_PATHS));
    }
}

/// What can be read back from a spec that came through the other door.
fn derived(view: &ContainerView, sandbox: Option<&SandboxSpec>) -> HostConfig {
    let spec = &view.spec;
    let mut host = HostConfig { privileged: spec.security.privileged, ..HostConfig::default() };
    host.readonly_rootfs = spec.security.readonly_rootfs;
    host.cap_add = (!spec.security.cap_add.is_empty()).then(|| StrSlice(spec.security.cap_add.clone()));
    host.cap_drop = (!spec.security.cap_drop.is_empty()).then(|| StrSlice(spec.security.cap_drop.clone()));
    host.masked_paths = spec.security.masked_paths.clone();
    host.readonly_paths = spec.security.readonly_paths.clone();
    host.annotations = spec.annotations.clone();
    host.runtime = spec.runtime.clone();
    host.pid_mode = namespace_word(&spec.namespaces.pid);
    host.ipc_mode = namespace_word(&spec.namespaces.ipc);
    host.uts_mode = namespace_word(&spec.namespaces.uts);
    host.log_config.kind = if spec.log == LogSpec::None { "none".into() } else { String::new() };
    host.binds = Some(spec.mounts.iter().filter_map(bind_text).collect());
    if let Some(sandbox) = sandbox {
        host.cgroup_parent = sandbox.cgroup_parent.clone();
        host.sysctls = sandbox.sysctls.clone();
        host.network_mode = network_word(&sandbox.network);
    }
    host
}

fn bind_text(mount: &engine::spec::MountSpec) -> Option<String> {
    let MountSource::Bind { path, .. } = &mount.source else { return None };
    let mode = if mount.readonly { ":ro" } else { "" };
    Some(format!("{path}:{}{mode}", mount.target))
}

fn namespace_word(mode: &NamespaceMode) -> String {
    match mode {
        NamespaceMode::Private => String::new(),
        NamespaceMode::Sandbox => "shareable".into(),
        NamespaceMode::Host => "host".into(),
        NamespaceMode::Container(id) => format!("container:{id}"),
    }
}

/// docker's word for a network mode.
pub(crate) fn network_word(mode: &NetworkMode) -> String {
    match mode {
        NetworkMode::Host => "host".into(),
        NetworkMode::None => "none".into(),
        NetworkMode::Container(id) => format!("container:{id}"),
        NetworkMode::Networks(list) => list.first().map_or_else(|| "bridge".into(), |first| first.network.clone()),
        NetworkMode::Pod => "pod".into(),
    }
}

/// Limits as they are now: an update changes the spec, not the create body.
fn apply_resources(host: &mut HostConfig, limits: &Resources) {
    let unsigned = |value: Option<u64>| value.map_or(0, |value| i64::try_from(value).unwrap_or(i64::MAX));
    let quota = limits.cpu_quota_us.unwrap_or(0);
    let nano_quota = i128::from(host.nano_cpus) * i128::from(NANO_CPUS_PERIOD_US) / 1_000_000_000;
    if host.nano_cpus == 0 || i128::from(quota) != nano_quota {
        host.nano_cpus = 0;
        host.cpu_quota = quota;
        host.cpu_period = unsigned(limits.cpu_period_us);
    }
    host.cpu_shares = unsigned(limits.cpu_shares);
    host.cpu_realtime_runtime = limits.cpu_rt_runtime_us.unwrap_or(0);
    host.cpu_realtime_period = unsigned(limits.cpu_rt_period_us);
    host.cpuset_cpus = limits.cpuset_cpus.clone();
    host.cpuset_mems = limits.cpuset_mems.clone();
    host.memory = limits.memory_bytes.unwrap_or(0);
    host.memory_reservation = limits.memory_reservation_bytes.unwrap_or(0);
    host.memory_swap = limits.memory_swap_bytes.unwrap_or(0);
    host.memory_swappiness = limits.memory_swappiness.and_then(|value| i64::try_from(value).ok());
    host.oom_score_adj = limits.oom_score_adj.unwrap_or(0).into();
    host.oom_kill_disable = host.oom_kill_disable.map(|_| limits.oom_kill_disable);
    host.pids_limit = limits.pids_max.filter(|limit| *limit > 0);
    host.blkio_weight = limits.blkio_weight.unwrap_or(0);
    apply_device_limits(host, limits);
}

fn apply_device_limits(host: &mut HostConfig, limits: &Resources) {
    let rates = |asked: &mut Option<Vec<ThrottleDevice>>, now: &[(String, u64)]| {
        if asked.is_some() || !now.is_empty() {
            *asked = Some(now.iter().map(|(path, rate)| ThrottleDevice { path: path.clone(), rate: *rate }).collect());
        }
    };
    rates(&mut host.blkio_device_read_bps, &limits.blkio_read_bps);
    rates(&mut host.blkio_device_write_bps, &limits.blkio_write_bps);
    rates(&mut host.blkio_device_read_iops, &limits.blkio_read_iops);
    rates(&mut host.blkio_device_write_iops, &limits.blkio_write_iops);
    if host.blkio_weight_device.is_some() || !limits.blkio_weight_device.is_empty() {
        let weight = |(path, weight): &(String, u16)| WeightDevice { path: path.clone(), weight: *weight };
        host.blkio_weight_device = Some(limits.blkio_weight_device.iter().map(weight).collect());
    }
    if host.ulimits.is_some() || !limits.ulimits.is_empty() {
        let signed = |value: u64| i64::try_from(value).unwrap_or(-1);
        let ulimit = |(name, soft, hard): &(String, u64, u64)| Ulimit {
            name: name.clone(),
            hard: signed(*hard),
            soft: signed(*soft),
        };
        host.ulimits = Some(limits.ulimits.iter().map(ulimit).collect());
    }
}

fn wire_policy(policy: RestartPolicy) -> WirePolicy {
    let (name, retries) = match policy {
        RestartPolicy::No => ("no", 0),
        RestartPolicy::Always => ("always", 0),
        RestartPolicy::UnlessStopped => ("unless-stopped", 0),
        RestartPolicy::OnFailure { max_retries } => ("on-failure", max_retries),
    };
    WirePolicy { name: name.into(), maximum_retry_count: retries.into() }
}

/// `Config` of a container: what was asked over what the image says.
pub(crate) fn config(view: &ContainerView, sandbox: Option<&SandboxSpec>) -> Config {
    let process = &view.spec.process;
    let mut config = if view.spec.owner == Owner::Docker {
        docker_api::from_slice::<Config>(view.spec.door_document.as_bytes()).unwrap_or_default()
    } else {
        Config {
            tty: process.tty,
            open_stdin: process.open_stdin,
            stdin_once: process.stdin_once,
            image: if view.spec.image_display.is_empty() { &view.spec.image } else { &view.spec.image_display }.clone(),
            healthcheck: view.spec.health.as_ref().map(health),
            ..Config::default()
        }
    };
    let resolved = &view.resolved;
    if config.hostname.is_empty() {
        let asked = sandbox.map(|sandbox| sandbox.hostname.clone()).unwrap_or_default();
        config.hostname = if asked.is_empty() { view.id.short().to_owned() } else { asked };
    }
    let list = |words: &[String]| (!words.is_empty()).then(|| StrSlice(words.to_vec()));
    config.env = Some(resolved.env.clone());
    config.cmd = list(&resolved.cmd);
    config.entrypoint = list(&resolved.entrypoint);
    config.working_dir = resolved.cwd.clone();
    config.user = resolved.user.clone();
    config.labels = resolved.labels.clone();
    if !view.spec.stop_signal.is_empty() || resolved.stop_signal != "SIGTERM" {
        config.stop_signal = resolved.stop_signal.clone();
    }
    for port in &resolved.exposed_ports {
        config.exposed_ports.entry(port.clone()).or_default();
    }
    let volumes: BTreeMap<String, Empty> = resolved.volumes.iter().map(|path| (path.clone(), Empty {})).collect();
    if !volumes.is_empty() {
        config.volumes.get_or_insert_default().extend(volumes);
    }
    config
}

fn health(spec: &engine::spec::HealthSpec) -> HealthConfig {
    HealthConfig {
        test: spec.test.clone(),
        interval: spec.interval_ns,
        timeout: spec.timeout_ns,
        start_period: spec.start_period_ns,
        start_interval: spec.start_interval_ns,
        retries: spec.retries.into(),
    }
}
