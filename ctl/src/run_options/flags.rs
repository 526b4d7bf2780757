//! The flags that `run` and `create` share, and the checks of single values.

use std::net::IpAddr;

use super::{devices, environment, mounts, network};
use crate::flags::{Flag, values};

type Checked = Result<(), String>;

/// What describes the container.
pub(crate) const FLAGS: &[Flag] = &[
    Flag::list("add-host", "Add a custom host-to-IP mapping (host:ip)").check(check_host),
    Flag::map("annotation", "Add an annotation to the container (passed through to the OCI runtime)"),
    Flag::list("attach", "Attach to STDIN, STDOUT or STDERR").short('a').check(check_attach),
    Flag::text("blkio-weight", "Block IO (relative weight), between 10 and 1000, or 0 to disable")
        .named("uint16")
        .check(values::uint16),
    Flag::list("blkio-weight-device", "Block IO weight (relative device weight)").check(devices::check_weight),
    Flag::list("cap-add", "Add Linux capabilities"),
    Flag::list("cap-drop", "Drop Linux capabilities"),
    Flag::text("cgroup-parent", "Optional parent cgroup for the container"),
    Flag::text(
        "cgroupns",
        "Cgroup namespace to use (host|private)\n\
         'host':    Run the container in the host's cgroup namespace\n\
         'private': Run the container in its own private cgroup namespace\n\
         '':        Use the cgroup namespace as configured by the default-cgroupns-mode option on the daemon (default)",
    ),
    Flag::text("cidfile", "Write the container ID to the file"),
    Flag::int("cpu-period", "Limit CPU CFS (Completely Fair Scheduler) period"),
    Flag::int("cpu-quota", "Limit CPU CFS (Completely Fair Scheduler) quota"),
    Flag::int("cpu-rt-period", "Limit CPU real-time period in microseconds"),
    Flag::int("cpu-rt-runtime", "Limit CPU real-time runtime in microseconds"),
    Flag::int("cpu-shares", "CPU shares (relative weight)").short('c'),
    Flag::text("cpus", "Number of CPUs").named("decimal").check(values::cpus),
    Flag::text("cpuset-cpus", "CPUs in which to allow execution (0-3, 0,1)"),
    Flag::text("cpuset-mems", "MEMs in which to allow execution (0-3, 0,1)"),
    Flag::list("device", "Add a host device to the container"),
    Flag::list("device-cgroup-rule", "Add a rule to the cgroup allowed devices list").check(devices::check_cgroup_rule),
    Flag::list("device-read-bps", "Limit read rate (bytes per second) from a device").check(devices::check_bps),
    Flag::list("device-read-iops", "Limit read rate (IO per second) from a device").check(devices::check_iops),
    Flag::list("device-write-bps", "Limit write rate (bytes per second) to a device").check(devices::check_bps),
    Flag::list("device-write-iops", "Limit write rate (IO per second) to a device").check(devices::check_iops),
    Flag::list("dns", "Set custom DNS servers").check(check_dns),
    Flag::list("dns-option", "Set DNS options"),
    Flag::list("dns-search", "Set custom DNS search domains").check(check_dns_search),
    Flag::text("domainname", "Container NIS domain name"),
    Flag::text("entrypoint", "Overwrite the default ENTRYPOINT of the image"),
    Flag::list("env", "Set environment variables").short('e').check(environment::check_env),
    Flag::list("env-file", "Read in a file of environment variables"),
    Flag::list("expose", "Expose a port or a range of ports"),
    Flag::list("gpus", "GPU devices to add to the container ('all' to pass all GPUs)")
        .named("gpu-request")
        .check(devices::check_gpus),
    Flag::list("group-add", "Add additional groups to join"),
    Flag::text("health-cmd", "Command to run to check health"),
    Flag::duration("health-interval", "Time between running the check (ms|s|m|h)"),
    Flag::int("health-retries", "Consecutive failures needed to report unhealthy"),
    Flag::duration("health-start-interval", "Time between running the check during the start period (ms|s|m|h)"),
    Flag::duration(
        "health-start-period",
        "Start period for the container to initialize before starting health-retries countdown (ms|s|m|h)",
    ),
    Flag::duration("health-timeout", "Maximum time to allow one check to run (ms|s|m|h)"),
    Flag::text("hostname", "Container host name").short('h'),
    Flag::switch("init", "Run an init inside the container that forwards signals and reaps processes"),
    Flag::switch("interactive", "Keep STDIN open even if not attached").short('i'),
    Flag::text("ip", "IPv4 address (e.g., 172.30.100.104)"),
    Flag::text("ip6", "IPv6 address (e.g., 2001:db8::33)"),
    Flag::text("ipc", "IPC mode to use"),
    Flag::list("label", "Set meta data on a container").short('l').check(environment::check_label),
    Flag::list("label-file", "Read in a line delimited file of labels"),
    Flag::list("link", "Add link to another container").check(check_link),
    Flag::list("link-local-ip", "Container IPv4/IPv6 link-local addresses").check(check_dns),
    Flag::text("log-driver", "Logging driver for the container"),
    Flag::list("log-opt", "Log driver options"),
    Flag::text("mac-address", "Container MAC address (e.g., 92:d0:c6:0a:29:33)"),
    Flag::bytes("memory", "Memory limit").short('m'),
    Flag::bytes("memory-reservation", "Memory soft limit"),
    Flag::bytes("memory-swap", "Swap limit equal to memory plus swap: '-1' to enable unlimited swap")
        .check(values::swap_bytes),
    Flag::int("memory-swappiness", "Tune container memory swappiness (0 to 100)").default("-1"),
    Flag::list("mount", "Attach a filesystem mount to the container").named("mount").check(mounts::check_mount),
    Flag::text("name", "Assign a name to the container"),
    Flag::list("network", "Connect a container to a network").named("network").check(network::check),
    Flag::list("network-alias", "Add network-scoped alias for the container"),
    Flag::switch("no-healthcheck", "Disable any container-specified HEALTHCHECK"),
    Flag::switch("oom-kill-disable", "Disable OOM Killer"),
    Flag::int("oom-score-adj", "Tune host's OOM preferences (-1000 to 1000)"),
    Flag::text("pid", "PID namespace to use"),
    Flag::int("pids-limit", "Tune container pids limit (set -1 for unlimited)"),
    Flag::text("platform", "Set platform if server is multi-platform capable"),
    Flag::switch("privileged", "Give extended privileges to this container"),
    Flag::list("publish", "Publish a container's port(s) to the host").short('p'),
    Flag::switch("publish-all", "Publish all exposed ports to random ports").short('P'),
    Flag::switch("quiet", "Suppress the pull output").short('q'),
    Flag::switch("read-only", "Mount the container's root filesystem as read only"),
    Flag::text("restart", "Restart policy to apply when a container exits").default("no"),
    Flag::switch("rm", "Automatically remove the container and its associated anonymous volumes when it exits"),
    Flag::text("runtime", "Runtime to use for this container"),
    Flag::list("security-opt", "Security Options"),
    Flag::bytes("shm-size", "Size of /dev/shm"),
    Flag::text("stop-signal", "Signal to stop the container"),
    Flag::int("stop-timeout", "Timeout (in seconds) to stop a container"),
    Flag::list("storage-opt", "Storage driver options for the container"),
    Flag::map("sysctl", "Sysctl options").check(check_sysctl),
    Flag::list("tmpfs", "Mount a tmpfs directory"),
    Flag::switch("tty", "Allocate a pseudo-TTY").short('t'),
    Flag::list("ulimit", "Ulimit options").named("ulimit").check(devices::check_ulimit),
    Flag::text("user", "Username or UID (format: <name|uid>[:<group|gid>])").short('u'),
    Flag::text("userns", "User namespace to use"),
    Flag::text("uts", "UTS namespace to use"),
    Flag::list("volume", "Bind mount a volume").short('v'),
    Flag::text("volume-driver", "Optional volume driver for the container"),
    Flag::list("volumes-from", "Mount volumes from the specified container(s)"),
    Flag::text("workdir", "Working directory inside the container").short('w'),
    // Old spellings.
    Flag::list("net", "").check(network::check).hidden(),
    Flag::list("net-alias", "").hidden(),
    Flag::list("dns-opt", "").hidden(),
    Flag::bytes("kernel-memory", "").hidden(),
    Flag::switch_on("disable-content-trust", "").hidden(),
];

/// `name:address` or `name=address`; the address may be `host-gateway`.
fn check_host(text: &str) -> Checked {
    split_host(text).map(|_| ())
}

/// Splits an `--add-host` value.
pub(crate) fn split_host(text: &str) -> Result<(&str, &str), String> {
    let bad = || format!("bad format for add-host: {text:?}");
    let (name, address) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(bad)?;
    if name.is_empty() {
        return Err(bad());
    }
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    if bare != "host-gateway" && bare.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {address:?}"));
    }
    Ok((name, bare))
}

fn check_attach(text: &str) -> Checked {
    match text.to_lowercase().as_str() {
        "stdin" | "stdout" | "stderr" => Ok(()),
        _ => Err("valid streams are STDIN, STDOUT and STDERR".to_owned()),
    }
}

/// Also for `network create` and the like: any IP address.
pub(crate) fn check_dns(text: &str) -> Checked {
    match text.trim().parse::<IpAddr>() {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("IP address is not correctly formatted: {text}")),
    }
}

fn check_dns_search(text: &str) -> Checked {
    let label = |label: &str| {
        !label.is_empty()
            && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = text.trim().trim_end_matches('.');
    if text.trim() == "." || name.split('.').all(label) { Ok(()) } else { Err(format!("{text} is not a valid domain")) }
}

/// `container[:alias]`.
pub(crate) fn check_link(text: &str) -> Checked {
    if text.is_empty() {
        return Err("empty string specified for links".to_owned());
    }
    if text.matches(':').count() > 1 { Err(format!("bad format for links: {text}")) } else { Ok(()) }
}

/// The kernel settings that belong to a container's namespaces.
fn check_sysctl(text: &str) -> Checked {
    const NAMES: [&str; 9] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
        "kernel.domainname",
    ];
    let fine = text
        .split_once('=')
        .is_some_and(|(name, _)| NAMES.contains(&name) || name.starts_with("net.") || name.starts_with("fs.mqueue."));
    if fine { Ok(()) } else { Err(format!("sysctl '{text}' is not allowed")) }
}
