//! Facts about the node, read once when the engine opens.

use crate::config::{EngineConfig, RuntimeConfig};
use crate::engine::EngineInfo;
use crate::program::find as find_program;
use crate::spec::facts::HostFacts;

/// The names of all capabilities, without `CAP_`, in the order of the kernel's numbers.
pub(crate) use sys::capability::NAMES as CAPABILITIES;

/// What the builder of runtime specs must know.
pub(crate) fn facts() -> HostFacts {
    let unified = matches!(sys::cgroup::Layout::detect().map(|l| l.mode()), Ok(sys::cgroup::Mode::Unified));
    HostFacts {
        cgroup_version: if unified { 2 } else { 1 },
        cpus: cpus(),
        apparmor: std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|t| t.starts_with('Y')),
        selinux: std::path::Path::new("/sys/fs/selinux/enforce").exists(),
        capabilities: sys::capability::current_bounding().map_or(0, |set| set.bits()),
        devices: Vec::new(),
    }
}

/// What `docker info` and CRI `Status` say.
pub(crate) fn info(config: &EngineConfig, host: &HostFacts, daemon_id: String) -> EngineInfo {
    let uname = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    EngineInfo {
        daemon_id,
        hostname: text(uname.nodename()),
        cpus: host.cpus,
        memory_bytes: memory_bytes(),
        kernel: text(uname.release()),
        operating_system: operating_system(),
        architecture: text(uname.machine()),
        cgroup_version: host.cgroup_version,
        runtimes: config.runtimes.keys().cloned().collect(),
        warnings: warnings(host),
        conditions: Vec::new(),
    }
}

/// Why no container could be started now, if that is so: a program that is gone, or a root that cannot be written.
pub(crate) fn lacking(config: &EngineConfig) -> Option<String> {
    if find_program(&config.shim).is_none() {
        return Some(format!("the shim {} is not there or cannot be run", config.shim.display()));
    }
    let program = match config.runtimes.get(&config.default_runtime) {
        Some(RuntimeConfig::Oci { path } | RuntimeConfig::Shim { path, .. }) if find_program(path).is_none() => path,
        _ => return unwritable(&config.root).or_else(|| unwritable(&config.run)),
    };
    Some(format!("the program of runtime {:?}, {}, is not there", config.default_runtime, program.display()))
}

/// A file system that was made read-only after an error says so here, and not in the middle of a pod.
fn unwritable(folder: &std::path::Path) -> Option<String> {
    let access = rustix::fs::access(folder, rustix::fs::Access::WRITE_OK);
    access.err().map(|error| format!("{} cannot be written: {error}", folder.display()))
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn operating_system() -> String {
    let text = std::fs::read_to_string("/etc/os-release").or_else(|_| std::fs::read_to_string("/usr/lib/os-release"));
    let text = text.unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

fn warnings(host: &HostFacts) -> Vec<String> {
    let missing: Vec<String> = sys::capability::CapabilitySet::all()
        .iter()
        .filter(|capability| host.capabilities & (1 << capability.number()) == 0)
        .map(|capability| capability.name())
        .collect();
    if missing.is_empty() {
        return Vec::new();
    }
    vec![format!("the engine lacks {}: containers cannot have it either", missing.join(", "))]
}
