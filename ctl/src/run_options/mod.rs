//! From the flags of `run` and `create` to the body of the create request.

pub(crate) mod devices;
pub(crate) mod environment;
mod flags;
pub(crate) mod mounts;
pub(crate) mod network;
mod ports;
mod security;

pub(crate) use flags::{FLAGS, check_dns, check_link};

use std::collections::BTreeMap;

use docker_api::Empty;
use docker_api::container::{Config, CreateExtras, HealthConfig, HostConfig, LogConfig, RestartPolicy, StrSlice};
use docker_api::network::NetworkingConfig;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::flags::Matches;
use crate::units;

/// The body of `POST /containers/create`.
#[derive(Debug, Serialize)]
pub(crate) struct CreateBody {
    #[serde(flatten)]
    pub(crate) config: Config,
    #[serde(flatten)]
    pub(crate) extras: CreateExtras,
}

/// Reads the flags and the arguments (image, command, …); `proxy` are variables that every container gets.
pub(crate) fn build(matches: &Matches, proxy: &[(String, String)]) -> Result<CreateBody> {
    validate(matches)?;
    let message = Error::message;
    let ports = ports::parse(matches.list("publish"), matches.list("expose")).map_err(message)?;
    let mut binds = Vec::new();
    let mut volumes = BTreeMap::new();
    for text in matches.list("volume") {
        match mounts::parse_volume(text).map_err(message)? {
            mounts::Volume::Bind(bind) if !binds.contains(&bind) => binds.push(bind),
            mounts::Volume::Bind(_) => {}
            mounts::Volume::Anonymous(path) => {
                volumes.insert(path, Empty {});
            }
        }
    }
    let config = Config { exposed_ports: ports.exposed, volumes: some_map(volumes), ..config(matches, proxy)? };
    let (mode, endpoints) = network::endpoints(&old_names(matches)).map_err(message)?;
    let host_config = HostConfig {
        binds: some(binds),
        port_bindings: some_map(ports.bindings),
        network_mode: mode,
        ..host_config(matches)?
    };
    let networking_config = NetworkingConfig { endpoints_config: endpoints };
    Ok(CreateBody { config, extras: CreateExtras { host_config, networking_config } })
}

/// `--net` and `--net-alias` are older spellings of the same flags.
fn old_names(matches: &Matches) -> Matches {
    matches.with_renamed(&[("net", "network"), ("net-alias", "network-alias")])
}

/// What no single flag can tell.
fn validate(matches: &Matches) -> Result<()> {
    let fail = |text: &str| Err(Error::message(text));
    if matches.on("rm") && !matches!(matches.text("restart"), "" | "no") {
        return fail("conflicting options: cannot specify both --restart and --rm");
    }
    let swappiness = matches.int("memory-swappiness");
    if swappiness != -1 && !(0..=100).contains(&swappiness) {
        return Err(Error::message(format!("invalid value: {swappiness}. Valid memory swappiness range is 0-100")));
    }
    let one_of = |flag: &str, allowed: &[&str], container: bool, kind: &str| {
        let value = matches.text(flag);
        let fine =
            allowed.contains(&value) || (container && value.strip_prefix("container:").is_some_and(|n| !n.is_empty()));
        if fine { Ok(()) } else { Err(Error::message(format!("--{flag}: invalid {kind} mode"))) }
    };
    one_of("pid", &["", "host"], true, "PID")?;
    one_of("uts", &["", "host"], false, "UTS")?;
    one_of("userns", &["", "host"], false, "USER")?;
    one_of("cgroupns", &["", "host", "private"], false, "CGROUP")?;
    if let Some(mac) = matches.optional("mac-address") {
        let parts: Vec<&str> = mac.split([':', '-']).collect();
        let hex = |part: &&str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
        if parts.len() != 6 || !parts.iter().all(hex) {
            return Err(Error::message(format!("{mac} is not a valid mac address")));
        }
    }
    Ok(())
}

fn config(matches: &Matches, proxy: &[(String, String)]) -> Result<Config> {
    let attach = attach(matches);
    let interactive = matches.on("interactive");
    let entrypoint = matches.given("entrypoint").then(|| StrSlice(vec![matches.text("entrypoint").to_owned()]));
    let command: Vec<String> = matches.args.iter().skip(1).cloned().collect();
    let given = environment::environment(matches.list("env-file"), matches.list("env"))?;
    let named = |text: &String, name: &str| text.split('=').next() == Some(name);
    let mut env: Vec<String> = proxy
        .iter()
        .filter(|(name, _)| !given.iter().any(|text| named(text, name)))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    env.extend(given);
    Ok(Config {
        hostname: matches.text("hostname").to_owned(),
        domainname: matches.text("domainname").to_owned(),
        user: matches.text("user").to_owned(),
        attach_stdin: attach.stdin,
        attach_stdout: attach.stdout,
        attach_stderr: attach.stderr,
        tty: matches.on("tty"),
        open_stdin: interactive,
        stdin_once: interactive && attach.stdin,
        env: some(env),
        cmd: some(command).map(StrSlice),
        image: matches.arg(0).to_owned(),
        working_dir: matches.text("workdir").to_owned(),
        entrypoint,
        healthcheck: health(matches)?,
        mac_address: matches.text("mac-address").to_owned(),
        labels: environment::labels(matches.list("label-file"), matches.list("label"))?,
        stop_signal: matches.text("stop-signal").to_owned(),
        stop_timeout: matches.given("stop-timeout").then(|| matches.int("stop-timeout")),
        ..Config::default()
    })
}

/// Streams to attach to: those named by `-a`, else the output, and the input with `-i`.
struct Attach {
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

fn attach(matches: &Matches) -> Attach {
    let named = matches.list("attach");
    if named.is_empty() {
        return Attach { stdin: matches.on("interactive"), stdout: true, stderr: true };
    }
    let has = |stream: &str| named.iter().any(|name| name.eq_ignore_ascii_case(stream));
    Attach { stdin: has("stdin"), stdout: has("stdout"), stderr: has("stderr") }
}

fn health(matches: &Matches) -> Result<Option<HealthConfig>> {
    const FLAGS: [&str; 6] = [
        "health-cmd",
        "health-interval",
        "health-timeout",
        "health-start-period",
        "health-start-interval",
        "health-retries",
    ];
    let asked = FLAGS.iter().any(|flag| matches.given(flag));
    if matches.on("no-healthcheck") {
        if asked {
            return Err(Error::message("--no-healthcheck conflicts with --health-* options"));
        }
        return Ok(Some(HealthConfig { test: vec!["NONE".to_owned()], ..HealthConfig::default() }));
    }
    if !asked {
        return Ok(None);
    }
    let time = |flag: &str| {
        let ns = units::parse_duration_ns(matches.optional(flag).unwrap_or("0")).unwrap_or(0);
        if ns < 0 { Err(Error::message(format!("--{flag} cannot be negative"))) } else { Ok(ns) }
    };
    let test = match matches.optional("health-cmd") {
        Some(command) => vec!["CMD-SHELL".to_owned(), command.to_owned()],
        None => Vec::new(),
    };
    let health = HealthConfig {
        test,
        interval: time("health-interval")?,
        timeout: time("health-timeout")?,
        start_period: time("health-start-period")?,
        start_interval: time("health-start-interval")?,
        retries: matches.int("health-retries"),
    };
    if health.retries < 0 {
        return Err(Error::message("--health-retries cannot be negative"));
    }
    Ok(Some(health))
}

fn host_config(matches: &Matches) -> Result<HostConfig> {
    let message = Error::message;
    let text = |flag: &str| matches.text(flag).to_owned();
    let list = |flag: &str| some(matches.list(flag).to_vec());
    let devices = devices::parse_devices(matches.list("device")).map_err(message)?;
    let mut requests = devices.requested;
    for gpus in matches.list("gpus") {
        requests.push(devices::parse_gpus(gpus).map_err(message)?);
    }
    let mut mounts = Vec::new();
    for mount in matches.list("mount") {
        mounts.push(mounts::parse_mount(mount).map_err(message)?);
    }
    let storage = matches.list("storage-opt");
    if storage.iter().any(|option| !option.contains('=')) {
        return Err(message("invalid storage option".to_owned()));
    }
    let (cap_add, cap_drop) = security::capabilities(matches.list("cap-add"), matches.list("cap-drop"));
    let security = security::options(matches.list("security-opt"))?;
    let mut hosts = Vec::new();
    for host in matches.list("add-host") {
        let (name, address) = flags::split_host(host).map_err(message)?;
        hosts.push(format!("{name}:{address}"));
    }
    let dns_options: Vec<String> = matches.list("dns-option").iter().chain(matches.list("dns-opt")).cloned().collect();
    Ok(HostConfig {
        container_id_file: text("cidfile"),
        log_config: log_config(matches)?,
        restart_policy: restart_policy(matches.text("restart"))?,
        auto_remove: matches.on("rm"),
        volume_driver: text("volume-driver"),
        volumes_from: list("volumes-from"),
        annotations: environment::pairs(matches.list("annotation")),
        cap_add,
        cap_drop,
        cgroupns_mode: text("cgroupns"),
        dns: list("dns"),
        dns_options: some(dns_options),
        dns_search: list("dns-search"),
        extra_hosts: some(hosts),
        group_add: list("group-add"),
        ipc_mode: text("ipc"),
        links: some(matches.list("link").to_vec())
            .filter(|_| !network::is_user_defined(matches.list("network").first().map_or("", String::as_str))),
        pid_mode: text("pid"),
        privileged: matches.on("privileged"),
        publish_all_ports: matches.on("publish-all"),
        readonly_rootfs: matches.on("read-only"),
        security_opt: some(security.options),
        masked_paths: security.unmasked.then(Vec::new),
        readonly_paths: security.unmasked.then(Vec::new),
        storage_opt: environment::pairs(storage),
        tmpfs: mounts::parse_tmpfs(matches.list("tmpfs")),
        uts_mode: text("uts"),
        userns_mode: text("userns"),
        sysctls: environment::pairs(matches.list("sysctl")),
        runtime: text("runtime"),
        devices: some(devices.mapped),
        device_requests: some(requests),
        device_cgroup_rules: list("device-cgroup-rule"),
        mounts,
        init: matches.given("init").then(|| matches.on("init")),
        ..limits(matches)?
    })
}

/// Memory, processors, processes, block devices, ulimits.
fn limits(matches: &Matches) -> Result<HostConfig> {
    let message = Error::message;
    let size = |flag: &str| match matches.text(flag) {
        "" => 0,
        "-1" => -1,
        text => units::parse_bytes(text).unwrap_or(0),
    };
    let each = |flag: &str, parse: fn(&str) -> std::result::Result<docker_api::container::ThrottleDevice, String>| {
        let list: std::result::Result<Vec<_>, String> = matches.list(flag).iter().map(|text| parse(text)).collect();
        list.map(some).map_err(message)
    };
    let weights: std::result::Result<Vec<_>, String> =
        matches.list("blkio-weight-device").iter().map(|text| devices::parse_weight(text)).collect();
    let ulimits: std::result::Result<Vec<_>, String> =
        matches.list("ulimit").iter().map(|text| devices::parse_ulimit(text)).collect();
    Ok(HostConfig {
        oom_score_adj: matches.int("oom-score-adj"),
        oom_kill_disable: Some(matches.on("oom-kill-disable")),
        shm_size: size("shm-size"),
        cpu_shares: matches.int("cpu-shares"),
        memory: size("memory"),
        nano_cpus: matches.optional("cpus").and_then(|cpus| units::parse_nano_cpus(cpus).ok()).unwrap_or(0),
        cgroup_parent: matches.text("cgroup-parent").to_owned(),
        blkio_weight: matches.text("blkio-weight").parse().unwrap_or(0),
        blkio_weight_device: some(weights.map_err(message)?),
        blkio_device_read_bps: each("device-read-bps", devices::parse_bps)?,
        blkio_device_write_bps: each("device-write-bps", devices::parse_bps)?,
        blkio_device_read_iops: each("device-read-iops", devices::parse_iops)?,
        blkio_device_write_iops: each("device-write-iops", devices::parse_iops)?,
        cpu_period: matches.int("cpu-period"),
        cpu_quota: matches.int("cpu-quota"),
        cpu_realtime_period: matches.int("cpu-rt-period"),
        cpu_realtime_runtime: matches.int("cpu-rt-runtime"),
        cpuset_cpus: matches.text("cpuset-cpus").to_owned(),
        cpuset_mems: matches.text("cpuset-mems").to_owned(),
        kernel_memory: size("kernel-memory"),
        memory_reservation: size("memory-reservation"),
        memory_swap: size("memory-swap"),
        memory_swappiness: Some(matches.int("memory-swappiness")),
        pids_limit: Some(matches.int("pids-limit")),
        ulimits: some(ulimits.map_err(message)?),
        ..HostConfig::default()
    })
}

fn log_config(matches: &Matches) -> Result<LogConfig> {
    let kind = matches.text("log-driver").to_owned();
    let config = environment::pairs(matches.list("log-opt"));
    if kind == "none" && !config.is_empty() {
        return Err(Error::message(format!("invalid logging opts for driver {kind}")));
    }
    Ok(LogConfig { kind, config })
}

/// `no`, `always`, `on-failure[:3]`; the daemon judges the name.
fn restart_policy(text: &str) -> Result<RestartPolicy> {
    let (name, count) = match text.split_once(':') {
        Some((name, count)) => (name, Some(count)),
        None => (text, None),
    };
    if name.is_empty() && count.is_some() {
        return Err(Error::message("invalid restart policy format: no policy provided before colon"));
    }
    let maximum_retry_count = match count {
        None => 0,
        Some(count) => count
            .parse()
            .map_err(|_| Error::message("invalid restart policy format: maximum retry count must be an integer"))?,
    };
    Ok(RestartPolicy { name: name.to_owned(), maximum_retry_count })
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}

fn some_map<K, V>(map: BTreeMap<K, V>) -> Option<BTreeMap<K, V>> {
    Some(map).filter(|map| !map.is_empty())
}

#[cfg(test)]
mod tests;
