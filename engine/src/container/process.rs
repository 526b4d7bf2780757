//! From a container's record and its sandbox to what a shim is asked to run.

use std::collections::HashMap;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;

use shim_api::bundle::ShimBundle;
use shim_api::options::{self, LogSink, RuntimeChoice, TaskOptions, TerminalSize};
use sys::capability::CapabilitySet;
use sys::seccomp::Profile;

use crate::config::{CgroupDriver, EngineConfig, RuntimeConfig};
use crate::container::record::ContainerRecord;
use crate::container::{ResolvedProcess, cdi, rootfs};
use crate::engine::Core;
use crate::error::{Error, Result};
use crate::id::{ContainerId, ImageId};
use crate::sandbox::SandboxView;
use crate::sandbox::handle::UpSandbox;
use crate::sandbox::record::HeldNamespaces;
use crate::spec::build::{self, Known};
use crate::spec::cdi::Edits;
use crate::spec::facts::{DeviceNode, HostFacts, NamespaceAt, ResolvedMount, SandboxFacts, UserFacts};
use crate::spec::user::{self, ResolvedUser, WantedUser};
use crate::spec::{
    ContainerSpec, DeviceSpec, NamespaceMode, NetworkMode, ProcessSpec, Resources, SeccompChoice, SecuritySpec,
    UserNamespaceSpec, capabilities,
};
use crate::task::NewTask;

/// Device nodes below one directory at most.
const DEVICES_MAX: usize = 4096;
/// Bytes of a seccomp profile in a file.
const PROFILE_BYTES_MAX: u64 = 4 << 20;

/// The facts of one start, owned, from which [`Known`] borrows.
#[derive(Debug)]
pub(crate) struct Facts {
    process: ResolvedProcess,
    mounts: Vec<ResolvedMount>,
    user: ResolvedUser,
    devices: Vec<DeviceNode>,
    block_devices: HashMap<String, (u32, u32)>,
    sandbox: SandboxFacts,
    host: HostFacts,
}

impl Facts {
    /// What the pure builder takes.
    pub(crate) fn known(&self) -> Known<'_> {
        Known {
            process: &self.process,
            user: &self.user,
            mounts: &self.mounts,
            devices: &self.devices,
            block_devices: &self.block_devices,
            sandbox: &self.sandbox,
            host: &self.host,
        }
    }
}

/// Everything that the first process of a container is made from.
#[tracing::instrument(level = "debug", skip_all)]
pub(crate) fn new_task(
    core: &Core,
    record: &ContainerRecord,
    sandbox: Arc<SandboxView>,
    up: &UpSandbox,
    log: LogSink,
) -> Result<(NewTask, ResolvedUser)> {
    make_bind_sources(&record.spec)?;
    let spec = &record.spec;
    let edits = cdi::edits(&spec.cdi_devices)?;
    let facts = gather(core, record, &sandbox, up, &edits)?;
    if spec.security.run_as_non_root && facts.user.uid == 0 {
        return Err(Error::invalid("container has runAsNonRoot and image will run as root"));
    }
    let mut oci = build::oci_spec(spec, facts.known())?;
    cdi::add_hooks(&mut oci, &edits)?;
    let seccomp = seccomp_text(core, &spec.security)?;
    let mut rootfs = core.snapshots.mounts(&record.snapshot_key()?)?;
    map_ids(&mut rootfs, &sandbox.spec.user);
    let task = NewTask {
        container: record.id.clone(),
        spec: to_json(oci, seccomp.as_deref())?,
        rootfs,
        terminal: spec.process.tty,
        options: task_options(core, record, &sandbox, log)?,
    };
    Ok((task, facts.user))
}

/// The layers of a container in a user namespace are shown with its ids: options as containerd gives them to shims.
fn map_ids(rootfs: &mut [crate::snapshot::Mount], user: &UserNamespaceSpec) {
    for mount in rootfs {
        mount.options.extend(map_options(user));
    }
}

/// The options that map a file system's ids into a user namespace; none for the host's.
pub(crate) fn map_options(user: &UserNamespaceSpec) -> Vec<String> {
    let UserNamespaceSpec::Mapped { uids, gids } = user else { return Vec::new() };
    let text = |maps: &[crate::spec::IdMap]| {
        let ranges = maps.iter().map(|map| format!("{}:{}:{}", map.container_id, map.host_id, map.length));
        ranges.collect::<Vec<_>>().join(";")
    };
    vec![format!("uidmap={}", text(uids)), format!("gidmap={}", text(gids))]
}

/// What is known of a container that is about to run, or runs.
fn gather(
    core: &Core,
    record: &ContainerRecord,
    sandbox: &SandboxView,
    up: &UpSandbox,
    edits: &Edits,
) -> Result<Facts> {
    let spec = &record.spec;
    let mut user = resolve_user(core, &record.id, record.image_id, &spec.process, &record.resolved.user)?;
    let mut host = core.host.clone();
    if spec.security.privileged {
        host.devices = all_devices();
    }
    let more = edits.additional_gids.iter().filter(|gid| !user.additional_gids.contains(gid));
    user.additional_gids = user.additional_gids.iter().chain(more).copied().collect();
    let mut devices = asked_devices(&spec.devices)?;
    devices.extend(cdi::nodes(edits)?);
    Ok(Facts {
        process: cdi::process(&record.resolved, edits),
        mounts: record.runtime_mounts.iter().cloned().chain(cdi::mounts(edits)).collect(),
        user,
        devices,
        block_devices: block_devices(&spec.resources)?,
        sandbox: sandbox_facts(core, record, sandbox, up)?,
        host,
    })
}

/// A user of the container by name or number, with its groups.
pub(crate) fn resolve_user(
    core: &Core,
    id: &ContainerId,
    image: ImageId,
    process: &ProcessSpec,
    user: &str,
) -> Result<ResolvedUser> {
    let files = rootfs::user_files(core, &id.as_str().parse()?, image)?;
    let wanted = WantedUser {
        user,
        additional_groups: &process.additional_groups,
        groups_from_image: process.groups_from_image,
    };
    user::resolve(wanted, &files.passwd, &files.group)
}

/// The process of an exec, after the container's own.
pub(crate) fn for_exec(
    core: &Core,
    spec: &ContainerSpec,
    resolved: &ResolvedProcess,
    user: &ResolvedUser,
    hostname: String,
) -> Result<oci_spec::runtime::Process> {
    let sandbox = SandboxFacts { hostname, ..Default::default() };
    let known = Known {
        process: resolved,
        user,
        mounts: &[],
        devices: &[],
        block_devices: &HashMap::new(),
        sandbox: &sandbox,
        host: &core.host,
    };
    build::process(spec, known)
}

fn sandbox_facts(core: &Core, record: &ContainerRecord, view: &SandboxView, up: &UpSandbox) -> Result<SandboxFacts> {
    let (spec, pod) = (&record.spec, &view.spec);
    let own = record.owns_sandbox();
    let network = match &pod.network {
        NetworkMode::Host => NamespaceAt::Host,
        _ if up.held.network.is_empty() => {
            return Err(Error::internal(format!("sandbox {} is up without a network namespace", view.id)));
        }
        _ => NamespaceAt::Path(up.held.network.clone()),
    };
    let at = |mode: &NamespaceMode, held: &str, kind: &str| namespace(core, mode, held, kind);
    let ipc = at(&spec.namespaces.ipc, &up.held.ipc, "ipc")?;
    let uts = at(&spec.namespaces.uts, &up.held.uts, "uts")?;
    let pid = at(&spec.namespaces.pid, &up.held.pid, "pid")?;
    let user = match &pod.user {
        UserNamespaceSpec::Host => None,
        UserNamespaceSpec::Mapped { uids, gids } => {
            let at = if up.held.user.is_empty() { NamespaceAt::New } else { NamespaceAt::Path(up.held.user.clone()) };
            Some(UserFacts { at, uids: uids.clone(), gids: gids.clone() })
        }
    };
    let (resolv_conf, hostname_file, hosts_file) = record.etc_paths.clone();
    Ok(SandboxFacts {
        network,
        shm_path: shared_memory(core, record, view, &up.held),
        ipc,
        uts,
        pid,
        cgroup: if spec.namespaces.cgroup == NamespaceMode::Host { NamespaceAt::Host } else { NamespaceAt::New },
        user,
        hostname: up.hostname.clone(),
        domainname: pod.domainname.clone(),
        shm_bytes: pod.shm_size(),
        resolv_conf,
        hostname_file,
        hosts_file,
        cgroups_path: record.cgroup_path.clone(),
        sysctls: if own { pod.sysctls.clone() } else { Default::default() },
    })
}

/// Whoever shares IPC shares /dev/shm too: the pod's, or that of another container.
fn shared_memory(core: &Core, record: &ContainerRecord, view: &SandboxView, held: &HeldNamespaces) -> Option<String> {
    match record.spec.namespaces.ipc {
        NamespaceMode::Container(_) => {
            let source = ShimBundle::new(&core.config.run, view.id.as_str()).shm();
            Some(source.to_string_lossy().into_owned())
        }
        NamespaceMode::Sandbox => Some(held.shm.clone()).filter(|source| !source.is_empty()),
        NamespaceMode::Private | NamespaceMode::Host => None,
    }
}

fn namespace(core: &Core, mode: &NamespaceMode, held: &str, kind: &str) -> Result<NamespaceAt> {
    Ok(match mode {
        NamespaceMode::Private => NamespaceAt::New,
        NamespaceMode::Host => NamespaceAt::Host,
        // A sandbox that holds none has the host's.
        NamespaceMode::Sandbox if held.is_empty() => NamespaceAt::Host,
        NamespaceMode::Sandbox => NamespaceAt::Path(held.to_owned()),
        NamespaceMode::Container(other) => NamespaceAt::Path(of_container(core, other, kind)?),
    })
}

fn of_container(core: &Core, other: &ContainerId, kind: &str) -> Result<String> {
    Ok(format!("/proc/{}/ns/{kind}", pid_of(core, other, kind)?))
}

/// The first process of a container whose namespace is to be joined.
fn pid_of(core: &Core, other: &ContainerId, kind: &str) -> Result<i32> {
    let cell = core.containers.get(other).ok_or_else(|| Error::not_found(format!("No such container: {other}")))?;
    match i32::try_from(cell.view().pid) {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err(Error::conflict(format!("cannot join {kind} namespace of a non running container: {other}"))),
    }
}

/// `-v` makes missing directories of the host, as docker does.
fn make_bind_sources(spec: &ContainerSpec) -> Result<()> {
    for mount in &spec.mounts {
        if let crate::spec::MountSource::Bind { path, create: true } = &mount.source
            && !Path::new(path).exists()
        {
            let named =
                |e: std::io::Error| Error::from(e).context(format!("error while creating mount source path '{path}'"));
            std::fs::create_dir_all(path).map_err(named)?;
        }
    }
    Ok(())
}

/// The devices that were asked for, as found on the host; a directory stands for all nodes below it.
pub(crate) fn asked_devices(asked: &[DeviceSpec]) -> Result<Vec<DeviceNode>> {
    let mut nodes = Vec::new();
    for device in asked {
        let host = Path::new(&device.host_path);
        let meta = std::fs::metadata(host).map_err(|e| {
            Error::invalid(format!(
                "error gathering device information while adding custom device {:?}",
                device.host_path
            ))
            .with_source(e)
        })?;
        let target = if device.container_path.is_empty() { &device.host_path } else { &device.container_path };
        let permissions = if device.permissions.is_empty() { "rwm" } else { &device.permissions };
        if meta.is_dir() {
            devices_below(host, Path::new(target), permissions, &mut nodes);
        } else {
            let node = node(target.clone(), &meta, permissions);
            nodes.push(node.ok_or_else(|| Error::invalid(format!("{:?} is not a device node", device.host_path)))?);
        }
    }
    Ok(nodes)
}

fn node(path: String, meta: &std::fs::Metadata, permissions: &str) -> Option<DeviceNode> {
    let kind = match meta.file_type() {
        t if t.is_block_device() => 'b',
        t if t.is_char_device() => 'c',
        t if t.is_fifo() => 'p',
        _ => return None,
    };
    Some(DeviceNode {
        path,
        kind,
        major: rustix::fs::major(meta.rdev()),
        minor: rustix::fs::minor(meta.rdev()),
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        permissions: permissions.to_owned(),
    })
}

/// Nodes below a directory; symbolic links are not followed.
fn devices_below(host: &Path, target: &Path, permissions: &str, nodes: &mut Vec<DeviceNode>) {
    let Ok(entries) = std::fs::read_dir(host) else { return };
    for entry in entries.flatten() {
        if nodes.len() >= DEVICES_MAX {
            return;
        }
        let (Ok(meta), path) = (entry.metadata(), target.join(entry.file_name())) else { continue };
        if meta.is_dir() {
            devices_below(&entry.path(), &path, permissions, nodes);
        } else {
            nodes.extend(node(path.to_string_lossy().into_owned(), &meta, permissions));
        }
    }
}

/// All device nodes of the host, for a privileged container; without those that a container has its own of.
fn all_devices() -> Vec<DeviceNode> {
    let mut nodes = Vec::new();
    devices_below(Path::new("/dev"), Path::new("/dev"), "rwm", &mut nodes);
    let own = |path: &str| {
        ["/dev/pts/", "/dev/shm/", "/dev/fd/", "/dev/mqueue/", "/dev/.", "/dev/console"]
            .iter()
            .any(|prefix| path.starts_with(prefix))
    };
    nodes.retain(|node| node.kind != 'p' && !own(&node.path));
    nodes
}

/// Numbers of the block devices that limits name by path.
pub(crate) fn block_devices(resources: &Resources) -> Result<HashMap<String, (u32, u32)>> {
    let rates = [
        &resources.blkio_read_bps,
        &resources.blkio_write_bps,
        &resources.blkio_read_iops,
        &resources.blkio_write_iops,
    ];
    let paths = rates.into_iter().flatten().map(|(path, _)| path);
    let mut found = HashMap::new();
    for path in paths.chain(resources.blkio_weight_device.iter().map(|(path, _)| path)) {
        let meta = std::fs::metadata(path).map_err(|e| Error::invalid(format!("device {path:?}")).with_source(e))?;
        if !meta.file_type().is_block_device() {
            return Err(Error::invalid(format!("{path:?} is not a block device")));
        }
        found.insert(path.clone(), (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev())));
    }
    Ok(found)
}

/// The seccomp section as JSON; `None` = unconfined. The default one is resolved once for each set of capabilities.
fn seccomp_text(core: &Core, security: &SecuritySpec) -> Result<Option<Arc<str>>> {
    let names: Vec<&str> = capabilities::wanted(security, core.host.capabilities)?.into_iter().collect();
    let caps = CapabilitySet::from_names(&names).map_err(|e| Error::invalid("capabilities").with_source(e))?;
    let file;
    let profile = match &security.seccomp {
        SeccompChoice::Unconfined => return Ok(None),
        SeccompChoice::RuntimeDefault if security.privileged => return Ok(None),
        SeccompChoice::RuntimeDefault => {
            if let Some(text) = core.seccomp.get(&caps.bits()) {
                return Ok(Some(text));
            }
            let text = resolve_seccomp(sys::seccomp::docker_default(), caps)?;
            core.seccomp.put(caps.bits(), Arc::clone(&text));
            return Ok(Some(text));
        }
        SeccompChoice::Profile(text) => text.as_bytes(),
        SeccompChoice::Localhost(path) => {
            file = read_profile(path)?;
            &file
        }
    };
    let parsed =
        Profile::from_json(profile).map_err(|e| Error::invalid("decoding seccomp profile failed").with_source(e))?;
    resolve_seccomp(&parsed, caps).map(Some)
}

fn read_profile(path: &str) -> Result<Vec<u8>> {
    let meta =
        std::fs::metadata(path).map_err(|e| Error::invalid(format!("seccomp profile {path:?}")).with_source(e))?;
    if !meta.is_file() || meta.len() > PROFILE_BYTES_MAX {
        return Err(Error::invalid(format!(
            "seccomp profile {path:?} is not a file of at most {PROFILE_BYTES_MAX} bytes"
        )));
    }
    Ok(std::fs::read(path)?)
}

fn resolve_seccomp(profile: &Profile, caps: CapabilitySet) -> Result<Arc<str>> {
    let wrong = |e: sys::seccomp::Error| Error::invalid("seccomp profile").with_source(e);
    let host = sys::seccomp::Host::detect().map_err(wrong)?;
    let resolved = profile.resolve(caps, host).map_err(wrong)?;
    let text =
        serde_json::to_string(&resolved).map_err(|e| Error::internal("encode a seccomp profile").with_source(e))?;
    Ok(text.into())
}

/// The runtime spec as JSON, with the seccomp section's text put in as it is.
fn to_json(mut spec: oci_spec::runtime::Spec, seccomp: Option<&str>) -> Result<Vec<u8>> {
    let encoded = |e: serde_json::Error| Error::internal("encode the runtime spec").with_source(e);
    let Some(seccomp) = seccomp else { return serde_json::to_vec(&spec).map_err(encoded) };
    let linux = serde_json::to_string(spec.linux()).map_err(encoded)?;
    spec.set_linux(None);
    let whole = serde_json::to_string(&spec).map_err(encoded)?;
    let (Some(whole), Some(linux)) = (whole.strip_suffix('}'), linux.strip_suffix('}')) else {
        return Err(Error::internal("the runtime spec is not an object"));
    };
    let comma = if linux.len() > 1 { "," } else { "" };
    Ok(format!("{whole},\"linux\":{linux}{comma}\"seccomp\":{seccomp}}}}}").into_bytes())
}

fn task_options(core: &Core, record: &ContainerRecord, sandbox: &SandboxView, log: LogSink) -> Result<TaskOptions> {
    let spec = &record.spec;
    let runtime = match core.config.runtimes.get(&sandbox.runtime) {
        Some(RuntimeConfig::Oci { path }) => RuntimeChoice::Command { binary: path.clone(), root: None },
        Some(RuntimeConfig::Shim { path, config }) => {
            RuntimeChoice::Shim { binary: path.clone(), config: config.clone() }
        }
        _ => RuntimeChoice::Builtin,
    };
    Ok(TaskOptions {
        log,
        stdin: spec.process.open_stdin,
        stdin_once: spec.process.stdin_once,
        terminal_size: spec.process.console_size.map(|(height, width)| TerminalSize { width, height }),
        runtime,
        cgroup_driver: cgroup_driver(&core.config),
        init: spec.init,
        shm_of: match &spec.namespaces.ipc {
            NamespaceMode::Container(other) => Some(pid_of(core, other, "ipc")?),
            _ => None,
        },
        no_new_keyring: false,
    })
}

/// Who makes cgroups, in the shim's words.
pub(crate) fn cgroup_driver(config: &EngineConfig) -> options::CgroupDriver {
    match config.cgroup_driver {
        CgroupDriver::Cgroupfs => options::CgroupDriver::Cgroupfs,
        CgroupDriver::Systemd => options::CgroupDriver::Systemd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seccomp_text_lands_in_the_linux_section() {
        let spec = oci_spec::runtime::Spec::default();
        let plain: serde_json::Value = serde_json::from_slice(&to_json(spec.clone(), None).unwrap()).unwrap();
        let with: serde_json::Value =
            serde_json::from_slice(&to_json(spec, Some(r#"{"defaultAction":"SCMP_ACT_ERRNO"}"#)).unwrap()).unwrap();
        assert_eq!(with["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
        assert_eq!(with["linux"]["namespaces"], plain["linux"]["namespaces"]);
        assert_eq!(with["process"], plain["process"]);
    }

    #[test]
    fn a_file_that_is_no_device_is_refused_by_name() {
        let device =
            DeviceSpec { host_path: "/etc/hostname".into(), container_path: String::new(), permissions: "r".into() };
        assert!(asked_devices(&[device]).unwrap_err().to_string().contains("is not a device node"));
        let null =
            DeviceSpec { host_path: "/dev/null".into(), container_path: "/dev/x".into(), permissions: "r".into() };
        let nodes = asked_devices(&[null]).unwrap();
        assert_eq!((nodes[0].kind, nodes[0].major, nodes[0].minor, &*nodes[0].path), ('c', 1, 3, "/dev/x"));
    }
}
