//! From CRI requests to the engine's specs. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use engine::id::{ContainerId, Owner, SandboxId};
use engine::spec::{
    ContainerSpec, DeviceSpec, DnsSpec, IdMap, LogSpec, MountSource, MountSpec, NamespaceMode, NamespaceSpec,
    NetworkMode, PodIdentity, PortSpec, ProcessSpec, Propagation, Protocol, Resources, RestartPolicy, SandboxChoice,
    SandboxSpec, SeccompChoice, SecuritySpec, UserNamespaceSpec,
};
use engine::{Error, Result};

use crate::proto as cri;

/// A sandbox as asked for.
///
/// # Errors
/// `InvalidArgument` naming the field.
pub(crate) fn sandbox(config: cri::PodSandboxConfig, handler: &str) -> Result<SandboxSpec> {
    let metadata = config.metadata.ok_or_else(|| missing("config.metadata"))?;
    for (field, value) in [("name", &metadata.name), ("uid", &metadata.uid), ("namespace", &metadata.namespace)] {
        if value.is_empty() {
            return Err(missing(&format!("config.metadata.{field}")));
        }
    }
    let linux = config.linux.unwrap_or_default();
    let security = linux.security_context.unwrap_or_default();
    let namespaces = security.namespace_options.clone().unwrap_or_default();
    let resources = pod_resources(linux.resources, linux.overhead)?;
    Ok(SandboxSpec {
        owner: Owner::Cri,
        name: sandbox_name(&metadata),
        pod: Some(PodIdentity {
            name: metadata.name,
            uid: metadata.uid,
            namespace: metadata.namespace,
            attempt: metadata.attempt,
        }),
        labels: config.labels.into_iter().collect(),
        annotations: config.annotations.into_iter().collect(),
        hostname: config.hostname,
        domainname: String::new(),
        network: if is_node(namespaces.network) { NetworkMode::Host } else { NetworkMode::Pod },
        ports: ports(&config.port_mappings)?,
        dns: dns(config.dns_config),
        extra_hosts: Vec::new(),
        ipc: if is_node(namespaces.ipc) { NamespaceMode::Host } else { NamespaceMode::Private },
        pid: pid_mode("linux.security_context.namespace_options.pid", &namespaces)?,
        uts: if is_node(namespaces.network) { NamespaceMode::Host } else { NamespaceMode::Private },
        user: user_namespace(namespaces.userns_options.as_ref())?,
        sysctls: linux.sysctls.into_iter().collect(),
        cgroup_parent: linux.cgroup_parent,
        log_directory: config.log_directory,
        runtime: handler.to_owned(),
        resources,
        security: sandbox_security(&security)?,
        shm_bytes: 0,
        door_document: String::new(),
    })
}

/// The name of a sandbox among CRI's: what is unique on a node.
fn sandbox_name(metadata: &cri::PodSandboxMetadata) -> String {
    format!("{}_{}_{}_{}", metadata.name, metadata.namespace, metadata.uid, metadata.attempt)
}

/// A container as asked for, in the sandbox `sandbox_id` that was made from `pod`.
///
/// # Errors
/// `InvalidArgument` naming the field, `NotImplemented` for what is not built.
pub(crate) fn container(
    config: cri::ContainerConfig,
    sandbox_id: SandboxId,
    pod: &SandboxSpec,
) -> Result<ContainerSpec> {
    let metadata = config.metadata.ok_or_else(|| missing("config.metadata"))?;
    if metadata.name.is_empty() {
        return Err(missing("config.metadata.name"));
    }
    let image = config.image.ok_or_else(|| missing("config.image"))?;
    if image.image.is_empty() {
        return Err(missing("config.image.image"));
    }
    let linux = config.linux.unwrap_or_default();
    let security = linux.security_context.unwrap_or_default();
    let namespaces = security.namespace_options.clone().unwrap_or_default();
    let tty = config.tty;
    Ok(ContainerSpec {
        owner: Owner::Cri,
        name: format!("{}_{}_{}", metadata.name, pod.name, metadata.attempt),
        image: image.image,
        image_display: image.user_specified_image,
        platform: String::new(),
        labels: config.labels.into_iter().collect(),
        annotations: config.annotations.into_iter().collect(),
        sandbox: SandboxChoice::Pod(sandbox_id),
        process: ProcessSpec {
            entrypoint: (!config.command.is_empty()).then_some(config.command),
            cmd: (!config.args.is_empty()).then_some(config.args),
            env: environment(config.envs)?,
            cwd: config.working_dir,
            user: user(&security)?,
            additional_groups: groups(&security.supplemental_groups)?,
            groups_from_image: security.supplemental_groups_policy == cri::SupplementalGroupsPolicy::Merge as i32,
            tty,
            open_stdin: config.stdin,
            stdin_once: config.stdin_once,
            console_size: None,
        },
        namespaces: NamespaceSpec {
            pid: pid_mode("linux.security_context.namespace_options.pid", &namespaces)?,
            ipc: NamespaceMode::Sandbox,
            uts: NamespaceMode::Sandbox,
            cgroup: if security.privileged { NamespaceMode::Host } else { NamespaceMode::Private },
        },
        mounts: config.mounts.into_iter().map(mount).collect::<Result<_>>()?,
        image_volumes: false,
        resources: resources(linux.resources)?,
        security: container_security(&security)?,
        devices: config.devices.into_iter().map(device).collect(),
        exposed_ports: Vec::new(),
        cdi_devices: config.cdi_devices.into_iter().map(|device| device.name).collect(),
        device_cgroup_rules: Vec::new(),
        log: LogSpec::Cri { path: config.log_path },
        init: false,
        restart: RestartPolicy::No,
        auto_remove: false,
        stop_signal: stop_signal(config.stop_signal)?,
        stop_timeout_s: None,
        health: None,
        runtime: String::new(),
        attempt: metadata.attempt,
        // The container's own name of the metadata; the engine's name is made of more.
        door_document: metadata.name,
    })
}

fn missing(field: &str) -> Error {
    Error::invalid(format!("{field} is missing"))
}

fn is_node(mode: i32) -> bool {
    mode == cri::NamespaceMode::Node as i32
}

fn pid_mode(field: &str, namespaces: &cri::NamespaceOption) -> Result<NamespaceMode> {
    match cri::NamespaceMode::try_from(namespaces.pid) {
        Ok(cri::NamespaceMode::Pod) => Ok(NamespaceMode::Sandbox),
        Ok(cri::NamespaceMode::Container) => Ok(NamespaceMode::Private),
        Ok(cri::NamespaceMode::Node) => Ok(NamespaceMode::Host),
        Ok(cri::NamespaceMode::Target) => {
            let target = namespaces.target_id.parse::<ContainerId>();
            Ok(NamespaceMode::Container(target.map_err(|e| e.context("namespace_options.target_id"))?))
        }
        Err(_) => Err(Error::invalid(format!("{field}: unknown mode {}", namespaces.pid))),
    }
}

fn user_namespace(options: Option<&cri::UserNamespace>) -> Result<UserNamespaceSpec> {
    let Some(options) = options else { return Ok(UserNamespaceSpec::Host) };
    match cri::NamespaceMode::try_from(options.mode) {
        Ok(cri::NamespaceMode::Node) => Ok(UserNamespaceSpec::Host),
        Ok(cri::NamespaceMode::Pod) => {
            if options.uids.is_empty() || options.gids.is_empty() {
                return Err(missing("userns_options: uids and gids"));
            }
            Ok(UserNamespaceSpec::Mapped { uids: id_maps(&options.uids), gids: id_maps(&options.gids) })
        }
        _ => Err(Error::invalid(format!("userns_options.mode {} is neither POD nor NODE", options.mode))),
    }
}

fn id_maps(maps: &[cri::IdMapping]) -> Vec<IdMap> {
    let map = |m: &cri::IdMapping| IdMap { container_id: m.container_id, host_id: m.host_id, length: m.length };
    maps.iter().map(map).collect()
}

fn ports(mappings: &[cri::PortMapping]) -> Result<Vec<PortSpec>> {
    let published = mappings.iter().filter(|mapping| mapping.host_port > 0);
    published.map(port).collect()
}

fn port(mapping: &cri::PortMapping) -> Result<PortSpec> {
    let number = |field: &str, value: i32| {
        let valid = u16::try_from(value).ok().filter(|port| *port > 0);
        valid.ok_or_else(|| Error::invalid(format!("port_mappings.{field}: {value} is not a port")))
    };
    let host_port = number("host_port", mapping.host_port)?;
    let protocol = match cri::Protocol::try_from(mapping.protocol) {
        Ok(cri::Protocol::Tcp) => Protocol::Tcp,
        Ok(cri::Protocol::Udp) => Protocol::Udp,
        Ok(cri::Protocol::Sctp) => Protocol::Sctp,
        Err(_) => return Err(Error::invalid(format!("port_mappings.protocol: unknown value {}", mapping.protocol))),
    };
    let wrong_ip = |_| Error::invalid(format!("port_mappings.host_ip: {:?} is not an address", mapping.host_ip));
    let host_ip: Option<IpAddr> =
        if mapping.host_ip.is_empty() { None } else { Some(mapping.host_ip.parse().map_err(wrong_ip)?) };
    let container_port = number("container_port", mapping.container_port)?;
    Ok(PortSpec { host_ip, host_port, host_port_end: host_port, container_port, protocol })
}

fn dns(config: Option<cri::DnsConfig>) -> DnsSpec {
    let config = config.unwrap_or_default();
    DnsSpec { servers: config.servers, searches: config.searches, options: config.options }
}

/// A value that is valid UTF-8: what the OCI runtime spec can carry.
fn environment(envs: Vec<cri::KeyValue>) -> Result<Vec<String>> {
    let entry = |env: cri::KeyValue| {
        let wrong = |_| Error::invalid(format!("envs: the value of {:?} is not UTF-8", env.key));
        let value = String::from_utf8(env.value).map_err(wrong)?;
        Ok(format!("{}={value}", env.key))
    };
    envs.into_iter().map(entry).collect()
}

fn id(field: &str, value: i64) -> Result<u32> {
    let valid = u32::try_from(value).ok().filter(|id| *id < u32::MAX);
    valid.ok_or_else(|| Error::invalid(format!("{field}: {value} is not an id")))
}

fn user(security: &cri::LinuxContainerSecurityContext) -> Result<String> {
    let user = match &security.run_as_user {
        Some(value) => id("run_as_user", value.value)?.to_string(),
        None => security.run_as_username.clone(),
    };
    match &security.run_as_group {
        Some(_) if user.is_empty() => Err(Error::invalid("run_as_group needs run_as_user or run_as_username")),
        Some(group) => Ok(format!("{user}:{}", id("run_as_group", group.value)?)),
        None => Ok(user),
    }
}

fn groups(groups: &[i64]) -> Result<Vec<String>> {
    groups.iter().map(|group| Ok(id("supplemental_groups", *group)?.to_string())).collect()
}

fn mount(mount: cri::Mount) -> Result<MountSpec> {
    let source = match mount.image {
        Some(image) if !image.image.is_empty() => {
            let wrong = |why: &str| Err(Error::invalid(format!("mount {}: {why}", mount.container_path)));
            if !mount.readonly {
                return wrong("an image is mounted with readonly only");
            }
            if !mount.host_path.is_empty() {
                return wrong("image and host_path exclude each other");
            }
            MountSource::Image { image: image.image, subpath: mount.image_sub_path }
        }
        _ if !mount.image_sub_path.is_empty() => {
            return Err(Error::invalid(format!("mount {}: image_sub_path needs image", mount.container_path)));
        }
        _ if mount.host_path.is_empty() => {
            return Err(Error::invalid(format!("mount {}: host_path is missing", mount.container_path)));
        }
        _ => MountSource::Bind { path: mount.host_path, create: true },
    };
    if !mount.mount_options.is_empty() {
        return Err(Error::not_implemented(format!("mount {}: mount_options are not built", mount.container_path)));
    }
    let propagation = match cri::MountPropagation::try_from(mount.propagation) {
        Ok(cri::MountPropagation::PropagationPrivate) => Propagation::Rprivate,
        Ok(cri::MountPropagation::PropagationHostToContainer) => Propagation::Rslave,
        Ok(cri::MountPropagation::PropagationBidirectional) => Propagation::Rshared,
        Err(_) => {
            let value = mount.propagation;
            return Err(Error::invalid(format!("mount {}: unknown propagation {value}", mount.container_path)));
        }
    };
    if mount.recursive_read_only && (!mount.readonly || propagation != Propagation::Rprivate) {
        return Err(Error::invalid(format!(
            "mount {}: recursive_read_only needs readonly and no propagation",
            mount.container_path
        )));
    }
    let mapped = !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty();
    Ok(MountSpec {
        readonly: mount.readonly,
        source,
        target: mount.container_path,
        recursive_readonly: mount.recursive_read_only,
        non_recursive: false,
        propagation,
        id_maps: mapped.then(|| (id_maps(&mount.uid_mappings), id_maps(&mount.gid_mappings))),
        selinux_relabel: mount.selinux_relabel,
    })
}

fn device(device: cri::Device) -> DeviceSpec {
    let permissions = if device.permissions.is_empty() { "rwm".to_owned() } else { device.permissions };
    DeviceSpec { host_path: device.host_path, container_path: device.container_path, permissions }
}

/// Limits of a container. Zero is CRI's "not set".
///
/// # Errors
/// `InvalidArgument` naming the field.
pub(crate) fn resources(asked: Option<cri::LinuxContainerResources>) -> Result<Resources> {
    let Some(asked) = asked else { return Ok(Resources::default()) };
    let unsigned = |field: &str, value: i64| {
        let wrong = |_| Error::invalid(format!("linux.resources.{field}: {value} is negative"));
        u64::try_from(value).map_err(wrong).map(|value| Some(value).filter(|v| *v != 0))
    };
    let wrong = |_| Error::invalid(format!("linux.resources.oom_score_adj: {} is out of range", asked.oom_score_adj));
    Ok(Resources {
        cpu_shares: unsigned("cpu_shares", asked.cpu_shares)?,
        cpu_quota_us: Some(asked.cpu_quota).filter(|quota| *quota != 0),
        cpu_period_us: unsigned("cpu_period", asked.cpu_period)?,
        cpuset_cpus: asked.cpuset_cpus,
        cpuset_mems: asked.cpuset_mems,
        memory_bytes: Some(asked.memory_limit_in_bytes).filter(|limit| *limit != 0),
        memory_swap_bytes: Some(asked.memory_swap_limit_in_bytes).filter(|limit| *limit != 0),
        oom_score_adj: Some(i32::try_from(asked.oom_score_adj).map_err(wrong)?),
        hugetlb: asked.hugepage_limits.into_iter().map(|limit| (limit.page_size, limit.limit)).collect(),
        unified: asked.unified.into_iter().collect(),
        ..Resources::default()
    })
}

/// Limits of a pod as a whole: what its containers may use together, and what its runtime needs beside that.
///
/// # Errors
/// `InvalidArgument` naming the field.
pub(crate) fn pod_resources(
    containers: Option<cri::LinuxContainerResources>,
    overhead: Option<cri::LinuxContainerResources>,
) -> Result<Resources> {
    let (whole, overhead) = (resources(containers)?, resources(overhead)?);
    // Nothing set is no limit, to which an overhead adds nothing.
    let sum = |limit: Option<i64>, more: Option<i64>| limit.map(|limit| limit.saturating_add(more.unwrap_or(0).max(0)));
    Ok(Resources {
        cpu_shares: whole.cpu_shares.map(|shares| shares.saturating_add(overhead.cpu_shares.unwrap_or(0))),
        cpu_quota_us: sum(whole.cpu_quota_us, overhead.cpu_quota_us),
        memory_bytes: sum(whole.memory_bytes, overhead.memory_bytes),
        memory_swap_bytes: sum(whole.memory_swap_bytes, overhead.memory_swap_bytes),
        // The score is that of processes; a pod has none of its own.
        oom_score_adj: None,
        ..whole
    })
}

fn seccomp(profile: Option<&cri::SecurityProfile>, path: &str) -> Result<SeccompChoice> {
    use cri::security_profile::ProfileType;
    let Some(profile) = profile else {
        return match path {
            "" => Ok(SeccompChoice::Unconfined),
            "runtime/default" | "docker/default" => Ok(SeccompChoice::RuntimeDefault),
            "unconfined" => Ok(SeccompChoice::Unconfined),
            other => match other.strip_prefix("localhost/") {
                Some(file) => Ok(SeccompChoice::Localhost(file.to_owned())),
                None => Err(Error::invalid(format!("seccomp_profile_path: unknown profile {other:?}"))),
            },
        };
    };
    match ProfileType::try_from(profile.profile_type) {
        Ok(ProfileType::RuntimeDefault) => Ok(SeccompChoice::RuntimeDefault),
        Ok(ProfileType::Unconfined) => Ok(SeccompChoice::Unconfined),
        Ok(ProfileType::Localhost) if profile.localhost_ref.is_empty() => Err(missing("seccomp.localhost_ref")),
        Ok(ProfileType::Localhost) => Ok(SeccompChoice::Localhost(profile.localhost_ref.clone())),
        Err(_) => Err(Error::invalid(format!("seccomp.profile_type: unknown value {}", profile.profile_type))),
    }
}

fn apparmor(profile: Option<&cri::SecurityProfile>, name: &str) -> String {
    use cri::security_profile::ProfileType;
    let Some(profile) = profile else { return name.strip_prefix("localhost/").unwrap_or(name).to_owned() };
    match ProfileType::try_from(profile.profile_type) {
        Ok(ProfileType::Localhost) => {
            profile.localhost_ref.strip_prefix("localhost/").unwrap_or(&profile.localhost_ref).to_owned()
        }
        Ok(ProfileType::Unconfined) => "unconfined".to_owned(),
        _ => String::new(),
    }
}

fn selinux(options: Option<&cri::SeLinuxOption>) -> String {
    let Some(options) = options else { return String::new() };
    let parts = [&options.user, &options.role, &options.r#type, &options.level];
    if parts.iter().all(|part| part.is_empty()) {
        return String::new();
    }
    parts.map(String::as_str).join(":")
}

fn sandbox_security(security: &cri::LinuxSandboxSecurityContext) -> Result<SecuritySpec> {
    Ok(SecuritySpec {
        privileged: security.privileged,
        seccomp: seccomp(security.seccomp.as_ref(), &security.seccomp_profile_path)?,
        apparmor: apparmor(security.apparmor.as_ref(), ""),
        selinux: selinux(security.selinux_options.as_ref()),
        readonly_rootfs: security.readonly_rootfs,
        ..SecuritySpec::default()
    })
}

fn container_security(security: &cri::LinuxContainerSecurityContext) -> Result<SecuritySpec> {
    let capabilities = security.capabilities.clone().unwrap_or_default();
    let paths = |paths: &[String]| Some(paths.to_vec()).filter(|_| !security.privileged);
    Ok(SecuritySpec {
        privileged: security.privileged,
        cap_add: capabilities.add_capabilities,
        cap_drop: capabilities.drop_capabilities,
        cap_ambient: capabilities.add_ambient_capabilities,
        no_new_privileges: security.no_new_privs,
        // Kubernetes lets a privileged container run without a profile, whichever is named.
        seccomp: match seccomp(security.seccomp.as_ref(), &security.seccomp_profile_path)? {
            _ if security.privileged => SeccompChoice::Unconfined,
            asked => asked,
        },
        apparmor: apparmor(security.apparmor.as_ref(), &security.apparmor_profile),
        selinux: selinux(security.selinux_options.as_ref()),
        readonly_rootfs: security.readonly_rootfs,
        masked_paths: paths(&security.masked_paths),
        readonly_paths: paths(&security.readonly_paths),
        run_as_non_root: false,
    })
}

/// `SIGNAL_SIGTERM` → `SIGTERM`, `SIGNAL_SIGRTMINPLUS3` → `SIGRTMIN+3`; the default is empty.
fn stop_signal(value: i32) -> Result<String> {
    let signal = cri::Signal::try_from(value)
        .map_err(|_| Error::invalid(format!("config.stop_signal: unknown value {value}")))?;
    if signal == cri::Signal::RuntimeDefault {
        return Ok(String::new());
    }
    let name = signal.as_str_name().strip_prefix("SIGNAL_").unwrap_or_default();
    Ok(name.replace("PLUS", "+").replace("MAXMINUS", "MAX-"))
}

/// Annotations and labels as CRI has them.
pub(crate) fn is_subset(wanted: &std::collections::HashMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_their_usual_names() {
        assert_eq!(stop_signal(0).unwrap(), "");
        assert_eq!(stop_signal(cri::Signal::Sigterm as i32).unwrap(), "SIGTERM");
        assert_eq!(stop_signal(cri::Signal::Sigrtminplus3 as i32).unwrap(), "SIGRTMIN+3");
        assert_eq!(stop_signal(cri::Signal::Sigrtmaxminus14 as i32).unwrap(), "SIGRTMAX-14");
        assert!(stop_signal(999).unwrap_err().message().contains("stop_signal"));
    }

    #[test]
    fn a_sandbox_without_its_identity_is_refused_by_field() {
        let error = sandbox(cri::PodSandboxConfig::default(), "").unwrap_err();
        assert!(error.message().contains("config.metadata"), "{error}");
        let metadata = cri::PodSandboxMetadata { name: "a".into(), namespace: "b".into(), ..Default::default() };
        let error = sandbox(cri::PodSandboxConfig { metadata: Some(metadata), ..Default::default() }, "").unwrap_err();
        assert!(error.message().contains("metadata.uid"), "{error}");
    }

    #[test]
    fn ids_out_of_range_are_refused() {
        for value in [-1, i64::from(u32::MAX), 1 << 32] {
            let run_as_user = Some(cri::Int64Value { value });
            let security = cri::LinuxContainerSecurityContext { run_as_user, ..Default::default() };
            assert!(user(&security).is_err(), "{value}");
        }
        let group = Some(cri::Int64Value { value: 5 });
        let security = cri::LinuxContainerSecurityContext { run_as_group: group, ..Default::default() };
        assert!(user(&security).unwrap_err().message().contains("run_as_group"));
    }

    #[test]
    fn ports_without_a_host_port_are_not_published() {
        let mapping = |host_port| cri::PortMapping { container_port: 80, host_port, ..Default::default() };
        assert_eq!(ports(&[mapping(0)]).unwrap(), []);
        assert_eq!(ports(&[mapping(8080)]).unwrap()[0].host_port, 8080);
        assert!(ports(&[mapping(70000)]).unwrap_err().message().contains("host_port"));
    }

    #[test]
    fn pid_modes() {
        let options = |pid: cri::NamespaceMode| cri::NamespaceOption { pid: pid as i32, ..Default::default() };
        assert_eq!(pid_mode("f", &options(cri::NamespaceMode::Pod)).unwrap(), NamespaceMode::Sandbox);
        assert_eq!(pid_mode("f", &options(cri::NamespaceMode::Container)).unwrap(), NamespaceMode::Private);
        assert!(pid_mode("f", &options(cri::NamespaceMode::Target)).unwrap_err().message().contains("target_id"));
    }
}
