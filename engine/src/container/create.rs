//! Create: validate all, take the name, resolve against the image, make volumes and the writable layer, store.

use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;

use crate::container::driver::{self, Beginning, container_event};
use crate::container::record::{ContainerRecord, RECORD_VERSION};
use crate::container::state::ContainerState;
use crate::container::{ContainerHandle, MountView, image_mount, random_name, rootfs};
use crate::engine::{Core, CreatedContainer};
use crate::error::{Error, Result};
use crate::event::NewEvent;
use crate::event::now_ns;
use crate::failpoint::failpoint;
use crate::id::ContainerId;
use crate::image::ImageView;
use crate::metadata::Durability;
use crate::metadata::tables::{container as container_table, sandbox as sandbox_table};
use crate::names::Reservation;
use crate::rollback::Rollback;
use crate::sandbox::handle::{Command as SandboxCommand, SandboxCell};
use crate::sandbox::record::{Live as SandboxLive, SandboxRecord};
use crate::sandbox::{self, SandboxPhase};
use crate::snapshot::SnapshotKey;
use crate::spec::facts::{ImageFacts, ResolvedMount};
use crate::spec::mounts::{clean_target, propagation_word};
use crate::spec::{ContainerSpec, HealthSpec, LogSpec, MountSource, MountSpec, SandboxChoice, env, validate};
use crate::volume::VolumeSpec;

/// Tries for a name that is not taken.
const NAME_TRIES_MAX: usize = 16;

/// Where a container is made: in a sandbox of its own, or in a pod's.
enum Place {
    Own(Box<SandboxRecord>),
    Pod(Arc<SandboxCell>),
}

/// Makes a container. Runs to its end even if the caller goes away.
#[tracing::instrument(level = "debug", skip_all)]
pub(crate) async fn create(core: &Arc<Core>, mut spec: ContainerSpec) -> Result<CreatedContainer> {
    validate::container(&spec, &core.host)?;
    let image = core.images.get(&spec.image)?;
    if !image.usable_by(spec.owner) {
        return Err(Error::not_found(format!("No such image: {}", spec.image)));
    }
    let facts = image_facts(&image);
    let resolved = Arc::new(env::resolve(&spec, &facts)?);
    // What no file knows is said now; the files are read again at each start.
    super::cdi::edits(&spec.cdi_devices)?;
    let id = ContainerId::random();
    let name = take_name(core, &mut spec, &id)?;
    let place = place(core, &mut spec, &id)?;
    let record = new_record(core, spec, id, &image, resolved, &facts, &place);
    let mut rollback = Rollback::default();
    match make(core, record, &image, place, &mut rollback).await {
        Ok(made) => {
            rollback.keep();
            name.keep();
            Ok(made)
        }
        Err(error) => {
            for failed in rollback.run().await {
                tracing::error!(failed, "a container that could not be made left something behind");
            }
            Err(error)
        }
    }
}

fn take_name(core: &Core, spec: &mut ContainerSpec, id: &ContainerId) -> Result<Reservation<ContainerId>> {
    if !spec.name.is_empty() {
        return core.container_names.reserve(spec.owner, &spec.name, id);
    }
    let mut last = None;
    for attempt in 0..NAME_TRIES_MAX {
        let name = random_name::pick(attempt);
        match core.container_names.reserve(spec.owner, &name, id) {
            Ok(taken) => {
                spec.name = name;
                return Ok(taken);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| Error::internal("no name could be made up")))
}

fn place(core: &Core, spec: &mut ContainerSpec, id: &ContainerId) -> Result<Place> {
    match &mut spec.sandbox {
        SandboxChoice::Own(own) => {
            if own.name.is_empty() {
                own.name = id.to_string();
            }
            if own.runtime.is_empty() {
                own.runtime.clone_from(&spec.runtime);
            }
            Ok(Place::Own(Box::new(sandbox::run::new_record(core, (**own).clone(), true)?)))
        }
        SandboxChoice::Pod(sandbox) => {
            let missing = || Error::not_found(format!("No such sandbox: {sandbox}"));
            let cell = core.sandboxes.get(sandbox).ok_or_else(missing)?;
            if cell.view.borrow().phase != SandboxPhase::Ready {
                return Err(Error::conflict(format!("sandbox {sandbox} is not ready")));
            }
            Ok(Place::Pod(cell))
        }
    }
}

fn new_record(
    core: &Core,
    spec: ContainerSpec,
    id: ContainerId,
    image: &ImageView,
    resolved: Arc<crate::container::ResolvedProcess>,
    facts: &ImageFacts,
    place: &Place,
) -> ContainerRecord {
    let (sandbox_id, cgroup_parent, log_directory) = match place {
        Place::Own(record) => (record.id.clone(), record.cgroup_parent.clone(), String::new()),
        Place::Pod(cell) => {
            let view = cell.view.borrow();
            (view.id.clone(), view.cgroup_parent.clone(), view.spec.log_directory.clone())
        }
    };
    let etc = core.sandbox_dir(&sandbox_id);
    let etc_path = |name: &str| etc.join(name).to_string_lossy().into_owned();
    ContainerRecord {
        version: RECORD_VERSION,
        name: spec.name.clone(),
        sandbox_id,
        image_id: image.id,
        resolved,
        health: spec.health.clone().or_else(|| facts.health.clone()),
        state: ContainerState::Created,
        pid: 0,
        exit_code: 0,
        oom_killed: false,
        error: String::new(),
        created_ns: now_ns(),
        started_ns: 0,
        finished_ns: 0,
        restart_count: 0,
        stopped_by_user: false,
        mounts: Vec::new(),
        runtime_mounts: Vec::new(),
        log_path: log_path(core, &spec, &id, &log_directory),
        etc_paths: (etc_path("resolv.conf"), etc_path("hostname"), etc_path("hosts")),
        cgroup_path: cgroup_path(core, &cgroup_parent, id.as_str()),
        runs_as: None,
        spec: Arc::new(spec),
        id,
    }
}

fn log_path(core: &Core, spec: &ContainerSpec, id: &ContainerId, log_directory: &str) -> String {
    match &spec.log {
        LogSpec::None => String::new(),
        log @ (LogSpec::Local(_) | LogSpec::Syslog { .. } | LogSpec::Journald { .. }) => {
            let path = core.container_dir(id).join("local-logs/container.log");
            if log.is_readable() { path.to_string_lossy().into_owned() } else { String::new() }
        }
        LogSpec::JsonFile { .. } => {
            core.container_dir(id).join(format!("{id}-json.log")).to_string_lossy().into_owned()
        }
        LogSpec::Cri { path } if path.is_empty() || log_directory.is_empty() => String::new(),
        LogSpec::Cri { path } => PathBuf::from(log_directory).join(path).to_string_lossy().into_owned(),
    }
}

/// cgroupfs: a path; systemd: `slice:prefix:name`.
pub(crate) fn cgroup_path(core: &Core, parent: &str, id: &str) -> String {
    match core.config.cgroup_driver {
        crate::config::CgroupDriver::Cgroupfs => format!("{}/{id}", parent.trim_end_matches('/')),
        crate::config::CgroupDriver::Systemd => format!("{parent}:gantry:{id}"),
    }
}

/// The steps; each pushes its undo. One transaction makes the container (and its sandbox) real.
async fn make(
    core: &Arc<Core>,
    mut record: ContainerRecord,
    image: &ImageView,
    place: Place,
    rollback: &mut Rollback,
) -> Result<CreatedContainer> {
    let key = record.snapshot_key()?;
    failpoint("create.begin")?;
    core.snapshots.prepare(&key, &image.layers).await?;
    {
        let (snapshots, key) = (core.snapshots.clone(), key.clone());
        rollback.push("remove the writable layer", move || async move { snapshots.remove(&key).await });
    }
    failpoint("create.prepared")?;
    let mut warnings = Vec::new();
    resolve_mounts(core, &mut record, rollback, &mut warnings).await?;
    failpoint("create.mounts")?;
    let ephemeral = record.spec.auto_remove;
    let own = match &place {
        Place::Own(own) => Some((**own).clone()),
        Place::Pod(_) => None,
    };
    let stored = record.clone();
    // What removes itself need not outlive a power cut.
    let durability = if ephemeral { Durability::Crash } else { Durability::Power };
    core.store
        .write(durability, move |tx| {
            if let Some(own) = &own {
                sandbox_table::put(tx, own)?;
            }
            container_table::put(tx, &stored)
        })
        .await?;
    failpoint("create.stored")?;
    let sandbox = match place {
        Place::Own(own) => {
            let live = SandboxLive { containers: vec![record.id.clone()], ..Default::default() };
            sandbox::driver::spawn(core, *own, live, None)
        }
        Place::Pod(cell) => {
            let joined = cell.mailbox.send(SandboxCommand::Join(record.id.clone())).await;
            joined.map_err(|_| Error::not_found(format!("No such sandbox: {}", record.sandbox_id)))?;
            cell
        }
    };
    let event = container_event(&record, "create", &[]);
    let cell = driver::spawn(core, Beginning { record, sandbox, shim: None, exit: None });
    core.events.publish(event).await;
    Ok(CreatedContainer { container: ContainerHandle { core: Arc::clone(core), cell }, warnings })
}

/// Finds the sources of all mounts: host paths checked, volumes made and filled, the image's volumes added.
async fn resolve_mounts(
    core: &Arc<Core>,
    record: &mut ContainerRecord,
    rollback: &mut Rollback,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let spec = Arc::clone(&record.spec);
    let mut wanted: Vec<MountSpec> = spec.mounts.clone();
    for path in &record.resolved.volumes {
        let target = clean_target(path)?;
        let covered = wanted.iter().any(|m| clean_target(&m.target).is_ok_and(|other| other == target));
        if !covered {
            wanted.push(anonymous_volume(path));
        }
    }
    for mount in &wanted {
        let (view, runtime) = match &mount.source {
            MountSource::Bind { path, create } => bind(mount, path, *create)?,
            MountSource::Tmpfs { size_bytes, mode, options } => tmpfs(mount, *size_bytes, *mode, options),
            MountSource::Volume { .. } => volume(core, record, mount, rollback).await?,
            MountSource::Image { .. } => image_mount::resolve(core, record, mount, rollback).await?,
        };
        if mount.selinux_relabel && !core.host.selinux {
            warnings.push(format!("{}: this kernel has no SELinux, nothing is relabelled", mount.target));
        }
        record.mounts.push(view);
        record.runtime_mounts.push(runtime);
    }
    Ok(())
}

fn anonymous_volume(target: &str) -> MountSpec {
    MountSpec {
        source: MountSource::Volume {
            name: String::new(),
            driver: String::new(),
            options: Default::default(),
            labels: Default::default(),
            no_copy: false,
            subpath: String::new(),
        },
        target: target.to_owned(),
        readonly: false,
        recursive_readonly: false,
        non_recursive: false,
        propagation: Default::default(),
        id_maps: None,
        selinux_relabel: false,
    }
}

fn runtime_mount(mount: &MountSpec, kind: &str, source: String, options: Vec<String>) -> ResolvedMount {
    ResolvedMount {
        target: mount.target.clone(),
        kind: kind.to_owned(),
        source,
        options,
        readonly: mount.readonly,
        recursive_readonly: mount.recursive_readonly,
        non_recursive: mount.non_recursive,
        propagation: mount.propagation,
        id_maps: mount.id_maps.clone(),
    }
}

fn view(mount: &MountSpec, kind: &str, source: String) -> MountView {
    MountView {
        kind: kind.to_owned(),
        name: String::new(),
        source,
        destination: mount.target.clone(),
        driver: String::new(),
        mode: String::new(),
        rw: !mount.readonly,
        propagation: propagation_word(mount.propagation).to_owned(),
        anonymous: false,
    }
}

fn bind(mount: &MountSpec, path: &str, create: bool) -> Result<(MountView, ResolvedMount)> {
    if !path.starts_with('/') {
        return Err(Error::invalid(format!(
            "invalid mount config for type \"bind\": invalid mount path: '{path}' mount path must be absolute"
        )));
    }
    if !create && !std::path::Path::new(path).exists() {
        return Err(Error::invalid(format!(
            "invalid mount config for type \"bind\": bind source path does not exist: {path}"
        )));
    }
    Ok((view(mount, "bind", path.to_owned()), runtime_mount(mount, "bind", path.to_owned(), Vec::new())))
}

fn tmpfs(mount: &MountSpec, size_bytes: u64, mode: u32, options: &[String]) -> (MountView, ResolvedMount) {
    let mut words: Vec<String> = ["nosuid", "nodev", "noexec"].map(String::from).to_vec();
    if options.iter().any(|o| o == "exec") {
        words.retain(|w| w != "noexec");
    }
    if size_bytes > 0 {
        words.push(format!("size={size_bytes}"));
    }
    words.push(format!("mode={:o}", if mode == 0 { 0o1777 } else { mode }));
    words.extend(options.iter().cloned());
    let mut shown = view(mount, "tmpfs", String::new());
    shown.propagation.clear();
    (shown, runtime_mount(mount, "tmpfs", "tmpfs".to_owned(), words))
}

async fn volume(
    core: &Arc<Core>,
    record: &ContainerRecord,
    mount: &MountSpec,
    rollback: &mut Rollback,
) -> Result<(MountView, ResolvedMount)> {
    let MountSource::Volume { name, driver, options, labels, no_copy, subpath } = &mount.source else {
        return Err(Error::internal("not a volume"));
    };
    let existed = !name.is_empty() && core.volumes.get(name).is_ok();
    let made = core
        .volumes
        .create(VolumeSpec {
            name: Some(name.clone()).filter(|n| !n.is_empty()),
            driver: driver.clone(),
            options: options.clone(),
            labels: labels.clone(),
        })
        .await?;
    core.volumes.hold(&made.name, &record.id);
    {
        let (volumes, id, name) = (core.volumes.clone(), record.id.clone(), made.name.clone());
        rollback.push("remove a volume", move || async move {
            volumes.release(&id);
            if existed { Ok(()) } else { volumes.remove(&name, true).await }
        });
    }
    if !no_copy && subpath.is_empty() {
        fill(core, &record.snapshot_key()?, &made.name, &mount.target).await?;
    }
    let placed = core.volumes.mount(&made.name, Some(subpath.as_str())).await?;
    if !existed {
        core.events.publish(NewEvent::volume("create", &made.name, &made.driver, &[])).await;
    }
    let mut shown = view(mount, "volume", made.mountpoint.to_string_lossy().into_owned());
    shown.name.clone_from(&made.name);
    shown.driver.clone_from(&made.driver);
    shown.anonymous = made.anonymous;
    shown.propagation.clear();
    Ok((shown, runtime_mount(mount, &placed.kind, placed.source, placed.options)))
}

/// An empty volume gets what the image has at its place.
async fn fill(core: &Core, key: &SnapshotKey, volume: &str, target: &str) -> Result<()> {
    let root = rootfs::open(&core.snapshots.mounts(key)?)?;
    core.volumes.copy_up(volume, root.as_fd(), target).await.map(|_| ())
}

/// What a container takes over from its image.
pub(crate) fn image_facts(image: &ImageView) -> ImageFacts {
    let config = &image.config;
    ImageFacts {
        entrypoint: config.entrypoint.clone().unwrap_or_default(),
        cmd: config.cmd.clone().unwrap_or_default(),
        env: config.env.clone(),
        cwd: config.working_dir.clone(),
        user: config.user.clone(),
        labels: config.labels.clone(),
        stop_signal: config.stop_signal.clone().unwrap_or_default(),
        exposed_ports: config.exposed_ports.clone(),
        volumes: config.volumes.clone(),
        health: config.healthcheck.as_ref().map(|check| HealthSpec {
            test: check.test.clone(),
            interval_ns: check.interval,
            timeout_ns: check.timeout,
            start_period_ns: check.start_period,
            start_interval_ns: check.start_interval,
            retries: u32::try_from(check.retries).unwrap_or(0),
        }),
    }
}
