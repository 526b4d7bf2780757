//! From what was asked for and what is known to an OCI runtime spec. Pure: the same facts give the same spec.

use std::collections::HashMap;
use std::path::PathBuf;

use oci_spec::runtime::{
    Capabilities, Capability, Linux, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxIdMapping, LinuxIdMappingBuilder,
    PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process, ProcessBuilder, RootBuilder, Spec, SpecBuilder,
    UserBuilder,
};

use crate::container::ResolvedProcess;
use crate::error::{Error, Result};
use crate::spec::facts::{HostFacts, NamespaceAt, ResolvedMount, SandboxFacts};
use crate::spec::user::ResolvedUser;
use crate::spec::{ContainerSpec, IdMap, SecuritySpec, capabilities, devices, mounts, namespaces, resources};

/// The version of the OCI runtime specification that is written: what came later are additions, and crun before 1.9 takes
/// no higher one.
const OCI_VERSION: &str = "1.0.2";

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
    let mut built = built(builder.build())?;
    if known.sandbox.uts != NamespaceAt::New {
        // The builder puts in a name of its own, which is refused where the namespace is another's.
        built.set_hostname(None);
    }
    Ok(built)
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
    // The first group is among the further ones, so that a file it is denied stays denied (CVE-2022-36109).
    let mut gids = known.user.additional_gids.clone();
    if !gids.contains(&known.user.gid) {
        gids.insert(0, known.user.gid);
    }
    let user = UserBuilder::default().uid(known.user.uid).gid(known.user.gid).additional_gids(gids);
    let mut builder = ProcessBuilder::default()
        .terminal(spec.process.tty)
        .user(built(user.build())?)
        .args(args)
        .env(env)
        .cwd(PathBuf::from(cwd))
        .capabilities(capability_sets(&spec.security, known)?)
        .rlimits(rlimits(spec)?)
        // Said in any case: the builder's own default is true.
        .no_new_privileges(spec.security.no_new_privileges);
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
        let kind: PosixRlimitType =
            serde_json::from_value(text).map_err(|_| Error::invalid(format!("invalid ulimit type: {name}")))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Owner, SandboxId};
    use crate::spec::facts::{ImageFacts, UserFacts};
    use crate::spec::{LogSpec, Propagation, Resources, RestartPolicy, SandboxChoice, env};

    fn asked() -> ContainerSpec {
        ContainerSpec {
            owner: Owner::Docker,
            name: "web".into(),
            image: "busybox".into(),
            image_display: String::new(),
            platform: String::new(),
            labels: Default::default(),
            annotations: Default::default(),
            sandbox: SandboxChoice::Pod(SandboxId::random()),
            process: Default::default(),
            namespaces: Default::default(),
            mounts: Vec::new(),
            image_volumes: true,
            resources: Resources::default(),
            security: SecuritySpec::default(),
            devices: Vec::new(),
            exposed_ports: Vec::new(),
            cdi_devices: Vec::new(),
            device_cgroup_rules: Vec::new(),
            log: LogSpec::None,
            init: false,
            restart: RestartPolicy::No,
            auto_remove: false,
            stop_signal: String::new(),
            stop_timeout_s: None,
            health: None,
            runtime: String::new(),
            attempt: 0,
            door_document: String::new(),
        }
    }

    fn build(
        spec: &ContainerSpec,
        change: impl FnOnce(&mut SandboxFacts, &mut Vec<ResolvedMount>, &mut ResolvedUser),
    ) -> Result<serde_json::Value> {
        let image = ImageFacts { cmd: vec!["sh".into()], ..Default::default() };
        let process = env::resolve(spec, &image)?;
        let mut user = ResolvedUser { home: "/root".into(), ..Default::default() };
        let mut sandbox =
            SandboxFacts { hostname: "box".into(), cgroups_path: "/gantry/c".into(), ..Default::default() };
        let mut mounts = Vec::new();
        change(&mut sandbox, &mut mounts, &mut user);
        let host = HostFacts { cpus: 1, capabilities: u64::MAX, ..Default::default() };
        let known = Known {
            process: &process,
            user: &user,
            mounts: &mounts,
            devices: &[],
            block_devices: &HashMap::new(),
            sandbox: &sandbox,
            host: &host,
        };
        Ok(serde_json::to_value(oci_spec(spec, known)?).unwrap())
    }

    fn plain(spec: &ContainerSpec) -> serde_json::Value {
        build(spec, |_, _, _| ()).unwrap()
    }

    fn bind(target: &str) -> ResolvedMount {
        ResolvedMount {
            target: target.into(),
            kind: "bind".into(),
            source: "/src".into(),
            options: Vec::new(),
            readonly: false,
            recursive_readonly: false,
            non_recursive: false,
            propagation: Propagation::Rprivate,
            id_maps: None,
        }
    }

    fn targets(spec: &serde_json::Value) -> Vec<&str> {
        spec["mounts"].as_array().unwrap().iter().map(|m| m["destination"].as_str().unwrap()).collect()
    }

    #[test]
    fn inheritable_capabilities_are_empty_and_users_but_root_have_none() {
        let root = plain(&asked());
        assert_eq!(root["process"]["capabilities"]["inheritable"], serde_json::json!([]));
        assert_eq!(root["process"]["capabilities"]["effective"].as_array().unwrap().len(), 14);
        let other = build(&asked(), |_, _, user| user.uid = 1000).unwrap();
        assert_eq!(other["process"]["capabilities"]["effective"], serde_json::json!([]));
        assert_eq!(other["process"]["capabilities"]["bounding"].as_array().unwrap().len(), 14);
    }

    #[test]
    fn a_mount_replaces_the_default_one_and_parents_go_first() {
        let spec = build(&asked(), |_, mounts, _| mounts.extend([bind("/a/b"), bind("/a"), bind("/dev/shm")])).unwrap();
        let targets = targets(&spec);
        assert_eq!(targets.iter().filter(|t| **t == "/dev/shm").count(), 1);
        let at = |wanted: &str| targets.iter().position(|t| *t == wanted).unwrap();
        assert!(at("/a") < at("/a/b") && at("/dev") < at("/dev/pts"));
    }

    #[test]
    fn a_privileged_container_has_no_masks_and_a_writable_sysfs() {
        let mut spec = asked();
        assert!(!plain(&spec)["linux"]["maskedPaths"].as_array().unwrap().is_empty());
        spec.security.privileged = true;
        let privileged = plain(&spec);
        assert_eq!(privileged["linux"]["maskedPaths"], serde_json::json!([]));
        assert_eq!(privileged["linux"]["resources"]["devices"].as_array().unwrap().len(), 1);
        let sys = privileged["mounts"].as_array().unwrap().iter().find(|m| m["destination"] == "/sys").unwrap();
        assert!(sys["options"].as_array().unwrap().contains(&"rw".into()));
    }

    #[test]
    fn host_namespaces_are_not_listed_and_joined_ones_have_their_path() {
        let spec = build(&asked(), |sandbox, _, _| {
            sandbox.network = NamespaceAt::Host;
            sandbox.ipc = NamespaceAt::Path("/proc/7/ns/ipc".into());
            sandbox.user = Some(UserFacts {
                at: NamespaceAt::New,
                uids: vec![IdMap { container_id: 0, host_id: 9, length: 5 }],
                gids: Vec::new(),
            });
        })
        .unwrap();
        let list = spec["linux"]["namespaces"].as_array().unwrap().clone();
        assert!(!list.iter().any(|ns| ns["type"] == "network"));
        assert!(list.contains(&serde_json::json!({"type": "ipc", "path": "/proc/7/ns/ipc"})));
        assert_eq!(spec["linux"]["uidMappings"][0], serde_json::json!({"hostID": 9, "containerID": 0, "size": 5}));
        assert_eq!(spec["hostname"], "box");
        let joined = build(&asked(), |sandbox, _, _| sandbox.uts = NamespaceAt::Path("/proc/7/ns/uts".into())).unwrap();
        assert!(joined["hostname"].is_null(), "{}", joined["hostname"]);
        // A user namespace cannot mount sysfs for the host's network.
        let sys = spec["mounts"].as_array().unwrap().iter().find(|m| m["destination"] == "/sys").unwrap().clone();
        assert_eq!(sys["type"], "bind");
    }

    #[test]
    fn programs_may_gain_privileges_unless_it_is_asked_otherwise() {
        let mut spec = asked();
        assert_eq!(plain(&spec)["process"]["noNewPrivileges"], false);
        spec.security.no_new_privileges = true;
        assert_eq!(plain(&spec)["process"]["noNewPrivileges"], true);
    }

    #[test]
    fn a_wrong_ulimit_is_refused_by_name() {
        let mut spec = asked();
        spec.resources.ulimits = vec![("nofilee".into(), 1, 2)];
        assert!(build(&spec, |_, _, _| ()).unwrap_err().message().contains("nofilee"));
        spec.resources.ulimits = vec![("nofile".into(), 3, 2)];
        assert!(build(&spec, |_, _, _| ()).unwrap_err().message().contains("nofile"));
    }
}
