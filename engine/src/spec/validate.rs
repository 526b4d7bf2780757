//! Everything that can be refused before the first effect.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use crate::error::{Error, Result};
use crate::id::Owner;
use crate::spec::facts::HostFacts;
use crate::spec::{
    ContainerSpec, LogSpec, MountSource, NamespaceMode, NetworkMode, Resources, RestartPolicy, SandboxChoice,
    SandboxSpec, UserNamespaceSpec, capabilities, cdi, devices, mounts,
};

/// One past the largest id that a map may contain.
const ID_END: u64 = u32::MAX as u64;
/// docker's least memory limit: 6 MiB.
const MEMORY_BYTES_MIN: i64 = 6 << 20;
/// Characters of a name at most.
const NAME_LEN_MAX: usize = 255;
/// Bytes of the names of a container, its pod and its namespace together with the pod's uid.
const POD_NAME_LEN_MAX: usize = 4096;
/// Sysctl prefixes that belong to the IPC namespace.
const IPC_SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Checks a container.
///
/// # Errors
/// `InvalidArgument` (or `NotImplemented` for what this kernel lacks) naming the field.
pub fn container(spec: &ContainerSpec, host: &HostFacts) -> Result<()> {
    match spec.owner {
        Owner::Docker => name(&spec.name)?,
        Owner::Cri => pod_name(&spec.name)?,
    }
    resources(&spec.resources, spec.owner)?;
    capabilities::wanted(&spec.security, host.capabilities)?;
    capabilities::ambient(&spec.security)?;
    let mut targets = BTreeSet::new();
    for mount in &spec.mounts {
        let target = mounts::clean_target(&mount.target)?;
        proc_target(&target, &mount.source)?;
        if !targets.insert(target) {
            return Err(Error::invalid(format!("Duplicate mount point: {}", mount.target)));
        }
        if mount.recursive_readonly && !mount.readonly {
            return Err(Error::invalid(format!("mount {}: recursive read-only needs read-only", mount.target)));
        }
    }
    for device in &spec.cdi_devices {
        cdi::parse_name(device)?;
    }
    spec.log.check()?;
    if let LogSpec::Cri { path } = &spec.log {
        log_path(path)?;
    }
    for rule in &spec.device_cgroup_rules {
        devices::parse_rule(rule)?;
    }
    if spec.auto_remove && spec.restart != RestartPolicy::No {
        return Err(Error::invalid("can't create 'AutoRemove' container with restart policy"));
    }
    let profile = spec.security.apparmor.as_str();
    if !host.apparmor && !matches!(profile, "" | "unconfined" | "runtime/default") {
        return Err(Error::not_implemented(format!("apparmor profile {profile:?}: this kernel has no AppArmor")));
    }
    if !host.selinux && !spec.security.selinux.is_empty() {
        let label = &spec.security.selinux;
        return Err(Error::not_implemented(format!("selinux_options {label:?}: this kernel has no SELinux")));
    }
    if let SandboxChoice::Own(own) = &spec.sandbox {
        sandbox(own)?;
    }
    Ok(())
}

/// Nothing but a procfs may cover the container's procfs, nor any part of it but a few files: security labels and
/// sysctls are written there (CVE-2019-16884, CVE-2023-27561). `target` is clean; what an image's symlinks make of it
/// the runtime checks once more.
fn proc_target(target: &Path, source: &MountSource) -> Result<()> {
    let refuse = |why: &str| Err(Error::invalid(format!("{target:?} cannot be mounted because it is {why}")));
    if !target.starts_with("/proc") || sys::proc::is_mount_target(target) {
        return Ok(());
    }
    if target != Path::new("/proc") {
        return refuse("inside /proc");
    }
    match source {
        MountSource::Bind { path, .. } if Path::new(path) == Path::new("/proc") => Ok(()),
        _ => refuse("not of type proc"),
    }
}

/// A log stays in its sandbox's log directory. Empty = no log is kept.
fn log_path(path: &str) -> Result<()> {
    let refuse = |why: &str| Err(Error::invalid(format!("log_path {path:?}: {why}")));
    if path.contains('\0') {
        return refuse("it contains a NUL byte");
    }
    let mut components = Path::new(path).components();
    match components.find(|component| !matches!(component, Component::Normal(_) | Component::CurDir)) {
        Some(Component::ParentDir) => refuse("it leads out of the sandbox's log_directory"),
        Some(_) => refuse("must be relative to the sandbox's log_directory"),
        None => Ok(()),
    }
}

/// Checks a sandbox.
///
/// # Errors
/// `InvalidArgument` naming the field.
pub fn sandbox(spec: &SandboxSpec) -> Result<()> {
    hostname(&spec.hostname)?;
    if !spec.log_directory.is_empty() && !spec.log_directory.starts_with('/') {
        return Err(Error::invalid(format!("log_directory {:?}: must be absolute", spec.log_directory)));
    }
    for (key, value) in &spec.sysctls {
        sysctl(key, value, spec)?;
    }
    if matches!(spec.network, NetworkMode::Container(_)) {
        if !spec.ports.is_empty() {
            return Err(Error::invalid("conflicting options: port publishing and the container type network mode"));
        }
        if !spec.hostname.is_empty() {
            return Err(Error::invalid("conflicting options: hostname and the network mode"));
        }
    }
    for text in spec.dns.servers.iter().chain(&spec.dns.searches).chain(&spec.dns.options) {
        if text.bytes().any(|b| b < b' ') {
            return Err(Error::invalid(format!("dns: {text:?} contains a control character")));
        }
    }
    for server in &spec.dns.servers {
        if server.parse::<std::net::IpAddr>().is_err() {
            return Err(Error::invalid(format!("dns: {server:?} is not an IP address")));
        }
    }
    if spec.owner == Owner::Cri {
        pod_name(&spec.name)?;
    }
    user_namespace(&spec.user)?;
    resources(&spec.resources, spec.owner)
}

/// The container's root must be somebody, and no host id may be there twice.
fn user_namespace(user: &UserNamespaceSpec) -> Result<()> {
    let UserNamespaceSpec::Mapped { uids, gids } = user else { return Ok(()) };
    for (field, maps) in [("uids", uids), ("gids", gids)] {
        let refuse = |why: &str| Err(Error::invalid(format!("user namespace: {field}: {why}")));
        if !maps.iter().any(|map| map.container_id == 0 && map.length > 0) {
            return refuse("id 0 of the container is not mapped");
        }
        for (index, map) in maps.iter().enumerate() {
            let end = |first: u32| u64::from(first) + u64::from(map.length);
            if map.length == 0 || end(map.container_id) > ID_END || end(map.host_id) > ID_END {
                return refuse("a range is empty or goes beyond 4294967295");
            }
            let overlap = |a: u32, b: u32, b_length: u32| {
                u64::from(a) < u64::from(b) + u64::from(b_length) && u64::from(b) < end(a)
            };
            let others = &maps[..index];
            if others.iter().any(|o| {
                overlap(map.host_id, o.host_id, o.length) || overlap(map.container_id, o.container_id, o.length)
            }) {
                return refuse("ranges overlap");
            }
        }
    }
    Ok(())
}

/// A name that docker accepts: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`; empty = the engine makes one.
///
/// # Errors
/// `InvalidArgument` with docker's words.
pub fn name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Ok(());
    }
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = bytes.all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if first && rest && (2..=NAME_LEN_MAX).contains(&name.len()) {
        Ok(())
    } else {
        Err(Error::invalid(format!("Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")))
    }
}

/// A name that is made of Kubernetes' names: long, and shown as it is.
fn pod_name(name: &str) -> Result<()> {
    if name.len() > POD_NAME_LEN_MAX {
        return Err(Error::invalid(format!("metadata: its names together have more than {POD_NAME_LEN_MAX} bytes")));
    }
    if name.bytes().any(|b| b < b' ' || b == 0x7f) {
        return Err(Error::invalid(format!("metadata: {name:?} contains a control character")));
    }
    Ok(())
}

/// A hostname of RFC 1123 form, 63 characters at most; empty = the engine's choice.
///
/// # Errors
/// `InvalidArgument`.
pub fn hostname(hostname: &str) -> Result<()> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if hostname.len() > 64 || hostname.starts_with('-') || !hostname.bytes().all(allowed) {
        return Err(Error::invalid(format!("invalid hostname: {hostname:?}")));
    }
    Ok(())
}

/// Only sysctls that a namespace of the sandbox holds, with plain values (CVE-2022-0811, CVE-2022-0532).
fn sysctl(key: &str, value: &str, spec: &SandboxSpec) -> Result<()> {
    let refuse = |why: &str| Error::invalid(format!("sysctl {key:?}: {why}"));
    let dotted = key.replace('/', ".");
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if dotted.is_empty() || !dotted.bytes().all(plain) || dotted.contains("..") {
        return Err(refuse("not the name of a sysctl"));
    }
    if value.bytes().any(|b| (b < b' ' && b != b'\t') || b == 0x7f) {
        return Err(refuse("its value contains a control character"));
    }
    let host_network = spec.network == NetworkMode::Host;
    if dotted.starts_with("net.") {
        return if host_network { Err(refuse("not allowed in host network namespace")) } else { Ok(()) };
    }
    if IPC_SYSCTLS.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
        let host = spec.ipc == NamespaceMode::Host;
        return if host { Err(refuse("not allowed in host ipc namespace")) } else { Ok(()) };
    }
    if matches!(dotted.as_str(), "kernel.domainname" | "kernel.hostname") {
        let host = spec.uts == NamespaceMode::Host;
        return if host { Err(refuse("not allowed in host uts namespace")) } else { Ok(()) };
    }
    Err(refuse("is not in a separate kernel namespace"))
}

/// Checks limits.
///
/// # Errors
/// `InvalidArgument` naming the field.
pub fn resources(asked: &Resources, owner: Owner) -> Result<()> {
    let refuse = |message: String| Err(Error::invalid(message));
    let memory = asked.memory_bytes.unwrap_or(0);
    // docker's own rule: Kubernetes takes any limit, and the kernel says what is too little.
    if owner == Owner::Docker && memory != 0 && (0..MEMORY_BYTES_MIN).contains(&memory) {
        return refuse(format!("Minimum memory limit allowed is 6MB, not {memory} bytes"));
    }
    if let Some(swap) = asked.memory_swap_bytes.filter(|swap| *swap > 0) {
        if memory <= 0 {
            return refuse("You should always set the Memory limit when using Memoryswap limit, see usage".into());
        }
        if swap < memory {
            return refuse("Minimum memoryswap limit should be larger than memory limit, see usage".into());
        }
    }
    if let Some(reservation) = asked.memory_reservation_bytes.filter(|r| *r > 0)
        && memory > 0
        && reservation > memory
    {
        return refuse("Minimum memory limit can not be less than memory reservation limit, see usage".into());
    }
    if let Some(swappiness) = asked.memory_swappiness.filter(|s| *s > 100) {
        return refuse(format!("Invalid value: {swappiness}, valid memory swappiness range is 0-100"));
    }
    if let Some(period) = asked.cpu_period_us.filter(|p| *p != 0 && !(1_000..=1_000_000).contains(p)) {
        return refuse(format!(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000): {period}"
        ));
    }
    if let Some(quota) = asked.cpu_quota_us.filter(|q| *q > 0 && *q < 1_000) {
        return refuse(format!("CPU cfs quota can not be less than 1ms (i.e. 1000): {quota}"));
    }
    if let Some(weight) = asked.blkio_weight.filter(|w| *w != 0 && !(10..=1000).contains(w)) {
        return refuse(format!("range of blkio weight is from 10 to 1000: {weight}"));
    }
    if let Some(adjustment) = asked.oom_score_adj.filter(|a| !(-1000..=1000).contains(a)) {
        return refuse(format!("Invalid value {adjustment}, range for oom score adj is [-1000, 1000]"));
    }
    for (field, list) in [("CPUs", &asked.cpuset_cpus), ("memory nodes", &asked.cpuset_mems)] {
        if !is_list(list) {
            return refuse(format!("Invalid value {list} for cpuset {field}"));
        }
    }
    for key in asked.unified.keys() {
        if key.contains('/') || !key.contains('.') {
            return refuse(format!("unified: {key:?} is not the name of a cgroup v2 file"));
        }
    }
    Ok(())
}

/// `0-3,5`; empty is allowed.
fn is_list(text: &str) -> bool {
    let number = |n: &str| !n.is_empty() && n.len() <= 5 && n.bytes().all(|b| b.is_ascii_digit());
    text.is_empty()
        || text.split(',').all(|piece| match piece.split_once('-') {
            Some((first, last)) => number(first) && number(last),
            None => number(piece),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::IdMap;

    #[test]
    fn names() {
        for good in ["", "ab", "a_b.c-d", "0x"] {
            assert!(name(good).is_ok(), "{good}");
        }
        for bad in ["a", "/a", "-ab", "a b", "a/b", "ä1", &"x".repeat(256)] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn user_namespaces_map_root_and_no_id_twice() {
        let map = |container_id, host_id, length| IdMap { container_id, host_id, length };
        let says = |uids: &[IdMap]| {
            let user = UserNamespaceSpec::Mapped { uids: uids.to_vec(), gids: vec![map(0, 70_000, 65_536)] };
            user_namespace(&user).err().map(|error| error.message().to_owned()).unwrap_or_default()
        };
        assert_eq!(says(&[map(0, 70_000, 10), map(10, 80_000, 10)]), "");
        assert!(says(&[map(1, 70_000, 10)]).contains("uids: id 0"));
        assert!(says(&[map(0, 70_000, 10), map(10, 70_005, 10)]).contains("overlap"));
        assert!(says(&[map(0, u32::MAX, 10)]).contains("beyond"));
        assert!(says(&[map(0, 5, 1), map(7, 9, 0)]).contains("empty"));
    }

    #[test]
    fn procfs_is_covered_by_procfs_only() {
        let bind = |path: &str| MountSource::Bind { path: path.into(), create: false };
        let says = |target: &str, source: &MountSource| {
            proc_target(Path::new(target), source).err().map(|error| error.message().to_owned())
        };
        for target in ["/process", "/a/proc", "/proc/cpuinfo", "/proc/sys/kernel/ns_last_pid"] {
            assert_eq!(says(target, &bind("/tmp")), None, "{target}");
        }
        assert_eq!(says("/proc", &bind("/proc/")), None);
        let not_proc = "\"/proc\" cannot be mounted because it is not of type proc";
        assert_eq!(says("/proc", &bind("/tmp")).as_deref(), Some(not_proc));
        assert_eq!(says("/proc", &bind("/proc/1")).as_deref(), Some(not_proc));
        for target in ["/proc/self/attr", "/proc/sys", "/proc/cpuinfo/x"] {
            let expected = format!("{target:?} cannot be mounted because it is inside /proc");
            assert_eq!(says(target, &bind("/proc")), Some(expected));
        }
    }

    #[test]
    fn a_log_stays_in_its_directory() {
        for good in ["", "a.log", "c/0.log", "./c/0.log", "..a/b"] {
            assert!(log_path(good).is_ok(), "{good}");
        }
        for bad in ["..", "../a", "a/../b", "a/..", "/a", "//a", "a\0"] {
            let error = log_path(bad).unwrap_err();
            assert!(error.message().contains("log_path"), "{bad}: {error}");
        }
    }

    #[test]
    fn limits_name_their_field() {
        let says = |resources: Resources, words: &str| {
            let error = super::resources(&resources, Owner::Docker).unwrap_err();
            assert!(error.message().contains(words), "{error}");
        };
        says(Resources { memory_bytes: Some(4096), ..Default::default() }, "Minimum memory limit");
        let little = Resources { memory_bytes: Some(4 << 20), ..Default::default() };
        assert!(super::resources(&little, Owner::Cri).is_ok());
        says(Resources { memory_swap_bytes: Some(1), ..Default::default() }, "always set the Memory limit");
        says(Resources { memory_swappiness: Some(101), ..Default::default() }, "swappiness");
        says(Resources { cpu_period_us: Some(1), ..Default::default() }, "cfs period");
        says(Resources { blkio_weight: Some(5), ..Default::default() }, "blkio weight");
        says(Resources { cpuset_cpus: "0-".into(), ..Default::default() }, "CPUs");
        says(Resources { oom_score_adj: Some(2000), ..Default::default() }, "oom score adj");
    }
}
