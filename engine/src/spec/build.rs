//! From what was asked for and what is known to an OCI runtime spec. Pure: the same facts give the same spec.

use std::collections::HashMap;
use std::path::PathBuf;

use oci_spec::runtime::{
    Capabilities, Capability, Linux, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxIdMapping, LinuxIdMappingBuilder,
    PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process, ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder,
};

use crate::container::ResolvedProcess;
use crate::error::{Error, Result};
use crate::spec::facts::{HostFacts, NamespaceAt, ResolvedMount, SandboxFacts};
use crate::spec::user::ResolvedUser;
use crate::spec::{ContainerSpec, IdMap, SecuritySpec, capabilities, devices, mounts, namespaces, resources};

/// The version of the OCI runtime specification that is written.
const OCI_VERSION: &str = "1.2.0";

/// Everything that is known when a container is about to run.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The process after the image's defaults.
    pub process: &'a ResolvedProcess,
    /// Who it runs as.
    pub user: &'a ResolvedUser,
    /// Mounts with their sources.
    pub mounts: &'a [ResolvedMount],
    /// Device nodes that were asked for, as found on the host.
    pub devices: &'a [crate::spec::facts::DeviceNode],
    /// Block devices of `resources`, by path: major and minor.
    pub block_devices: &'a HashMap<String, (u32, u32)>,
    /// The sandbox.
    pub sandbox: &'a SandboxFacts,
    /// The node.
    pub host: &'a HostFacts,
}

/// Builds the runtime spec; the root path is `rootfs` below the bundle. Seccomp is added by the caller, who caches
/// compiled filters.
///
/// # Errors
/// `InvalidArgument` naming the field.
pub fn oci_spec(spec: &ContainerSpec, known: Known<'_>) -> Result<Spec> {
    let annotations: HashMap<String, String> = spec.annotations.clone().into_iter().collect();
    let mut builder = SpecBuilder::default()
        .version(OCI_VERSION)
        .root(built(RootBuilder::default().path("rootfs").readonly(spec.security.readonly_rootfs).build())?)
        .process(process(spec, known)?)
        .mounts(mounts::all(spec, known)?)
        .annotations(annotations)
        .linux(linux(spec, known)?);
    if known.sandbox.uts == NamespaceAt::New {
        builder = builder.hostname(known.sandbox.hostname.clone());
        if !known.sandbox.domainname.is_empty() {
            builder = builder.domainname(known.sandbox.domainname.clone());
        }
    }
    built(builder.build())
}

/// The first process, or the base of an exec.
///
/// # Errors
/// `InvalidArgument` naming the field.
pub fn process(spec: &ContainerSpec, known: Known<'_>) -> Result<Process> {
    let mut args = vec![known.process.path.clone()];
    args.extend(known.process.args.iter().cloned());
    let mut env = known.process.env.clone();
    let has = |env: &[String], name: &str| env.iter().any(|e| e.split_once('=').is_some_and(|(n, _)| n == name));
    if !has(&env, "HOSTNAME") && !known.sandbox.hostname.is_empty() {
        env.insert(1.min(env.len()), format!("HOSTNAME={}", known.sandbox.hostname));
    }
    if spec.process.tty && !has(&env, "TERM") {
        env.push("TERM=xterm".to_owned());
    }
    if !has(&env, "HOME") {
        env.push(format!("HOME={}", known.user.home));
    }
    let cwd = if known.process.cwd.is_empty() { "/" } else { &known.process.cwd };
    let user = UserBuilder::default()
        .uid(known.user.uid)
        .gid(known.user.gid)
        .additional_gids(known.user.additional_gids.clone());
    let mut builder = ProcessBuilder::default()
        .terminal(spec.process.tty)
        .user(built(user.build())?)
        .args(args)
        .env(env)
        .cwd(PathBuf::from(cwd))
        .capabilities(capability_sets(&spec.security, known)?)
        .rlimits(rlimits(spec)?);
    if spec.security.no_new_privileges {
        builder = builder.no_new_privileges(true);
    }
    if let Some(adjustment) = spec.resources.oom_score_adj {
        builder = builder.oom_score_adj(adjustment);
    }
    if known.host.apparmor && !spec.security.apparmor.is_empty() && spec.security.apparmor != "unconfined" {
        builder = builder.apparmor_profile(spec.security.apparmor.clone());
    }
    if known.host.selinux && !spec.security.selinux.is_empty() {
        builder = builder.selinux_label(spec.security.selinux.clone());
    }
    built(builder.build())
}

/// Capability sets as execve would have them: only root gets effective ones; inheritable only what ambient needs.
fn capability_sets(security: &SecuritySpec, known: Known<'_>) -> Result<oci_spec::runtime::LinuxCapabilities> {
    let bounding = to_set(capabilities::wanted(security, known.host.capabilities)?);
    let ambient: Capabilities = to_set(capabilities::ambient(security)?).intersection(&bounding).copied().collect();
    let effective = if known.user.uid == 0 { bounding.clone() } else { ambient.clone() };
    let sets = LinuxCapabilitiesBuilder::default()
        .bounding(bounding)
        .effective(effective.clone())
        .permitted(effective)
        .inheritable(ambient.clone())
        .ambient(ambient);
    built(sets.build())
}

fn to_set(names: impl IntoIterator<Item = &'static str>) -> Capabilities {
    names.into_iter().filter_map(|name| name.parse::<Capability>().ok()).collect()
}

fn rlimits(spec: &ContainerSpec) -> Result<Vec<PosixRlimit>> {
    let limits = spec.resources.ulimits.iter().map(|(name, soft, hard)| {
        if soft > hard {
            return Err(Error::invalid(format!("ulimit {name}: soft limit {soft} is above hard limit {hard}")));
        }
        let text = serde_json::Value::String(format!("RLIMIT_{}", name.to_ascii_uppercase()));
        let kind: PosixRlimitType = serde_json::from_value(text).map_err(|_| Error::invalid(format!("invalid ulimit type: {name}")))?;
        built(PosixRlimitBuilder::default().typ(kind).soft(*soft).hard(*hard).build())
    });
    limits.collect()
}

fn linux(spec: &ContainerSpec, known: Known<'_>) -> Result<Linux> {
    let sandbox = known.sandbox;
    let mut limits = resources::oci(&spec.resources, known.block_devices)?;
    limits.set_devices(Some(devices::rules(spec, known)?));
    let mut builder = LinuxBuilder::default()
        .namespaces(namespaces::all(sandbox)?)
        .resources(limits)
        .devices(devices::nodes(spec, known)?)
        .sysctl(sandbox.sysctls.clone().into_iter().collect::<HashMap<_, _>>())
        .masked_paths(masked_paths(&spec.security, known.host))
        .readonly_paths(readonly_paths(&spec.security));
    if !sandbox.cgroups_path.is_empty() {
        builder = builder.cgroups_path(PathBuf::from(&sandbox.cgroups_path));
    }
    if let Some(propagation) = mounts::rootfs_propagation(known.mounts) {
        builder = builder.rootfs_propagation(propagation);
    }
    if let Some(user) = &sandbox.user {
        builder = builder.uid_mappings(id_mappings(&user.uids)?).gid_mappings(id_mappings(&user.gids)?);
    }
    if known.host.selinux && !spec.security.selinux.is_empty() {
        builder = builder.mount_label(spec.security.selinux.clone());
    }
    built(builder.build())
}

/// Id maps in the spec's form.
pub(super) fn id_mappings(maps: &[IdMap]) -> Result<Vec<LinuxIdMapping>> {
    maps.iter()
        .map(|map| {
            built(
                LinuxIdMappingBuilder::default()
                    .host_id(map.host_id)
                    .container_id(map.container_id)
                    .size(map.length)
                    .build(),
            )
        })
        .collect()
}

fn masked_paths(security: &SecuritySpec, host: &HostFacts) -> Vec<String> {
    match &security.masked_paths {
        Some(paths) => paths.clone(),
        None if security.privileged => Vec::new(),
        None => {
            let fixed = [
                "/proc/acpi",
                "/proc/asound",
                "/proc/interrupts",
                "/proc/kcore",
                "/proc/keys",
                "/proc/latency_stats",
                "/proc/sched_debug",
                "/proc/scsi",
                "/proc/timer_list",
                "/proc/timer_stats",
                "/sys/devices/virtual/powercap",
                "/sys/firmware",
            ];
            let throttle = (0..host.cpus).map(|cpu| format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle"));
            fixed.into_iter().map(String::from).chain(throttle).collect()
        }
    }
}

fn readonly_paths(security: &SecuritySpec) -> Vec<String> {
    match &security.readonly_paths {
        Some(paths) => paths.clone(),
        None if security.privileged => Vec::new(),
        None => ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"].map(String::from).to_vec(),
    }
}

/// A builder can only fail on a field that was not set: a fault of ours, not of the request.
pub(super) fn built<T>(result: Result<T, oci_spec::OciSpecError>) -> Result<T> {
    result.map_err(|error| Error::internal("build the runtime spec").with_source(error))
}
