//! A container's file system seen from outside: its root with its volumes and binds on it, whether it runs or not.
//!
//! As docker has it, /proc, /sys and /dev are not part of it. It is a detached tree of mounts: no table shows it, and
//! what the container does to its own mounts meanwhile does not change it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sys::mount::{Parameter, new_filesystem};
use sys::mount_tree::{Base, Part, Plan, Source, Tree, assemble};
use sys::namespace::{self, NamespaceKind};
use sys::rooted::RootFd;
use tokio::sync::OwnedMutexGuard;

use crate::container::handle::ContainerCell;
use crate::container::{ContainerHandle, ContainerView, Phase, rootfs};
use crate::error::{Error, ErrorKind, Result};
use crate::snapshot::{Mount, SnapshotKey};
use crate::spec::mounts::clean_target;
use crate::spec::{MountSource, MountSpec};

/// How long a start or a removal waits for somebody who writes into the file system, and the other way round.
const GATE_WAIT: Duration = Duration::from_secs(20);

/// What is going to be done with a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// A container's file system. Dropping it takes it apart.
#[derive(Debug)]
pub(crate) struct RootTree {
    pub(crate) root: RootFd,
    /// Where something is mounted only while the container runs.
    absent: Vec<PathBuf>,
    _pins: Vec<Arc<OwnedFd>>,
    _gate: Option<OwnedMutexGuard<()>>,
}

impl RootTree {
    /// Refuses a path below a mount that is not here: what lies under it is not what the container sees.
    pub(crate) fn check(&self, path: &Path) -> Result<()> {
        match self.absent.iter().find(|target| path.starts_with(target)) {
            None => Ok(()),
            Some(target) => Err(Error::conflict(format!(
                "{} cannot be opened from outside: an image is mounted there, or something that is there only while the container runs",
                target.display()
            ))),
        }
    }
}

/// Keeps everybody else from writing into a container's root file system.
pub(crate) async fn close_gate(cell: &ContainerCell) -> Result<OwnedMutexGuard<()>> {
    let wait = tokio::time::timeout(GATE_WAIT, Arc::clone(&cell.rootfs_gate).lock_owned()).await;
    wait.map_err(|_| Error::conflict(format!("files are being copied into container {}", cell.id)))
}

/// Opens a container's file system.
///
/// # Errors
/// `Conflict` when it is being removed, or somebody else writes for too long.
pub(crate) async fn open(container: &ContainerHandle, access: Access) -> Result<RootTree> {
    open_with(container, access, true).await
}

/// Opens a container's root file system alone, without what is mounted on it.
///
/// # Errors
/// As [`open`].
pub(crate) async fn open_bare(container: &ContainerHandle, access: Access) -> Result<RootTree> {
    open_with(container, access, false).await
}

async fn open_with(container: &ContainerHandle, access: Access, mounts: bool) -> Result<RootTree> {
    let gate = match access {
        Access::Read => None,
        Access::Write => Some(close_gate(&container.cell).await?),
    };
    let view = container.view();
    if matches!(view.phase, Phase::Removing | Phase::Dead) {
        return Err(Error::conflict(format!("container {} is marked for removal and cannot be opened", view.id)));
    }
    let mut pins = Vec::new();
    let parts = if mounts { parts(container, &view, &mut pins).await? } else { Vec::new() };
    let tree = build(container, &view, parts.clone(), access).await?;
    if access == Access::Read && !tree.missing.is_empty() && !has_process(&view) {
        // Never started: the places of its volumes are made as the first start would.
        drop(tree);
        let _gate = close_gate(&container.cell).await?;
        let view = container.view();
        if !has_process(&view) {
            drop(build(container, &view, parts.clone(), Access::Write).await?);
        }
        let tree = build(container, &view, parts, access).await?;
        return Ok(RootTree { root: tree.root, absent: tree.absent, _pins: pins, _gate: None });
    }
    Ok(RootTree { root: tree.root, absent: tree.absent, _pins: pins, _gate: gate })
}

fn has_process(view: &ContainerView) -> bool {
    matches!(view.phase, Phase::Running | Phase::Paused) && view.pid != 0
}

async fn build(container: &ContainerHandle, view: &ContainerView, parts: Vec<Part>, access: Access) -> Result<Tree> {
    let key: SnapshotKey = view.id.as_str().parse()?;
    let mounts = container.core.snapshots.mounts(&key)?;
    let namespace = if has_process(view) { Some(mount_namespace(container, view)?) } else { None };
    let base_readonly = view.spec.security.readonly_rootfs;
    let place = container.core.config.root.clone();
    let about = format!("open the file system of container {}", view.id);
    let work = move || {
        let base = match (namespace, access) {
            (Some(namespace), _) => Base::RootOf(namespace),
            (None, Access::Read) => Base::Mount(rootfs::open(&mounts)?),
            (None, Access::Write) => Base::Mount(writable(&mounts)?),
        };
        let write = access == Access::Write;
        let plan = Plan { base, base_readonly, parts, readonly: !write, make_targets: write };
        assemble(plan, &place).map_err(|e| Error::from(e).context(about))
    };
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal("assemble a mount tree").with_source(e))?
}

/// The mount namespace of its first process, which must still be that process when the namespace is open.
fn mount_namespace(container: &ContainerHandle, view: &ContainerView) -> Result<OwnedFd> {
    let gone = || Error::conflict(format!("container {} has just ended", view.id));
    let pid = i32::try_from(view.pid).map_err(|_| gone())?;
    let namespace = namespace::of_process(pid, NamespaceKind::Mount).map_err(|_| gone())?;
    let now = container.view();
    // A pid is given to another process only after the shim has reported its end.
    if now.pid == view.pid && now.started_ns == view.started_ns { Ok(namespace) } else { Err(gone()) }
}

/// The same overlay as the container's own mount makes.
pub(crate) fn writable(mounts: &[Mount]) -> Result<OwnedFd> {
    let [mount] = mounts else {
        return Err(Error::not_implemented("a root file system of several mounts"));
    };
    let option = |key: &str| mount.options.iter().find_map(|option| option.strip_prefix(key));
    let (Some(lower), Some(upper), Some(work)) = (option("lowerdir="), option("upperdir="), option("workdir=")) else {
        return Err(Error::internal("a root file system without a writable layer"));
    };
    let mut parameters = vec![Parameter::Text("source", b"overlay")];
    parameters.extend(lower.split(':').map(|layer| Parameter::Text("lowerdir+", layer.as_bytes())));
    parameters.push(Parameter::Text("upperdir", upper.as_bytes()));
    parameters.push(Parameter::Text("workdir", work.as_bytes()));
    let mounted = new_filesystem("overlay", &parameters, 0);
    mounted.map_err(|e| Error::from(e).context("mount a root file system"))
}

/// Everything that is mounted into a container by name, parents first.
async fn parts(container: &ContainerHandle, view: &ContainerView, pins: &mut Vec<Arc<OwnedFd>>) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for (number, mount) in view.mounts.iter().enumerate() {
        let asked = view.spec.mounts.get(number);
        let source = match mount.kind.as_str() {
            "tmpfs" => Source::Tmpfs,
            // Images in containers are refused by `check`: their views are not put into this tree yet.
            "image" => Source::Absent,
            "volume" => volume(container, &mount.name, asked, pins).await?,
            _ => Source::Host {
                path: PathBuf::from(&mount.source),
                recursive: !asked.is_some_and(|asked| asked.non_recursive),
            },
        };
        // Without a process there is no tmpfs, and nothing of it is kept.
        if source != Source::Tmpfs || has_process(view) {
            parts.push(Part { source, target: clean_target(&mount.destination)?, readonly: !mount.rw });
        }
    }
    let (resolv_conf, hostname, hosts) = &view.etc_paths;
    for (target, path) in [("/etc/resolv.conf", resolv_conf), ("/etc/hostname", hostname), ("/etc/hosts", hosts)] {
        let target = PathBuf::from(target);
        if Path::new(path).exists() && !parts.iter().any(|part| part.target == target) {
            let source = Source::Host { path: PathBuf::from(path), recursive: false };
            parts.push(Part { source, target, readonly: view.spec.security.readonly_rootfs });
        }
    }
    parts.sort_by_key(|part| part.target.components().count());
    Ok(parts)
}

async fn volume(
    container: &ContainerHandle,
    name: &str,
    asked: Option<&MountSpec>,
    pins: &mut Vec<Arc<OwnedFd>>,
) -> Result<Source> {
    let subpath = match asked.map(|asked| &asked.source) {
        Some(MountSource::Volume { subpath, .. }) => Some(subpath.as_str()),
        _ => None,
    };
    match container.core.volumes.mount(name, subpath).await {
        Ok(placed) if placed.kind == "bind" || placed.options.iter().any(|o| o == "bind" || o == "rbind") => {
            pins.extend(placed.pin);
            Ok(Source::Host { path: PathBuf::from(placed.source), recursive: true })
        }
        Ok(_) => Ok(Source::Tmpfs),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Source::Absent),
        Err(error) => Err(error),
    }
}
