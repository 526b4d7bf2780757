//! `Volumes`: the records of all volumes, and who uses them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jiff::Timestamp;
use rustix::fs::{FileType, Mode, OFlags, RenameFlags};
use serde::{Deserialize, Serialize};
use sys::rooted::{Dir, RootFd};

use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::metadata::tables::volume;
use crate::metadata::{Durability, Store};
use crate::volume::copy_up;
use crate::volume::local::{self, Backing};

/// Version of the records.
const RECORD_VERSION: u32 = 1;
/// The directory with a volume's content, in the volume's own.
const DATA: &str = "_data";
/// Where content is copied to before it becomes the volume's.
const COPY: &str = "_copy";
/// Removed volumes are moved to a name with this beginning, and then deleted. No volume is called so.
const REMOVED_PREFIX: &str = ".removed-";
/// The label of a volume that was made without a name.
const LABEL_ANONYMOUS: &str = "com.docker.volume.anonymous";
/// Levels that are looked at to measure a volume.
const USAGE_DEPTH_MAX: usize = 1000;

/// A volume to create.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeSpec {
    /// Its name; without one it gets 64 random hexadecimal characters and is anonymous.
    pub name: Option<String>,
    /// `local` when empty; others are refused by name.
    pub driver: String,
    /// Options of the driver: `type`, `o`, `device`.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A volume as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeView {
    /// Its name.
    pub name: String,
    /// Always `local`.
    pub driver: String,
    /// `<root>/<name>/_data`.
    pub mountpoint: PathBuf,
    /// When it was made.
    pub created: Timestamp,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Made without a name.
    pub anonymous: bool,
    /// Containers that use it.
    pub users: Vec<ContainerId>,
}

/// How a volume gets into a container: a value; nobody mounts here.
#[derive(Debug, Clone)]
pub struct VolumeMount {
    /// `bind`, or the file system of a volume with options (`tmpfs`, `nfs`, …).
    pub kind: String,
    /// A directory of the host, or a device.
    pub source: String,
    /// Options of the mount.
    pub options: Vec<String>,
    /// Holds the directory that `source` names, where it was found by a path that a container can change. Keep it until
    /// the container has started.
    pub pin: Option<Arc<OwnedFd>>,
}

/// A stored volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// [`RECORD_VERSION`] when it was written.
    pub v: u32,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Made without a name.
    pub anonymous: bool,
}

/// All volumes of this daemon; cheap to clone.
#[derive(Debug, Clone)]
pub struct Volumes {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    root: PathBuf,
    state: RwLock<State>,
    /// Orders creations, removals and copies.
    change: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    volumes: BTreeMap<String, Arc<VolumeRecord>>,
    /// Names of volumes with the containers that use them; a name may come before its volume.
    users: BTreeMap<String, BTreeSet<ContainerId>>,
}

impl State {
    fn view(&self, record: &VolumeRecord, root: &Path) -> Arc<VolumeView> {
        let record = record.clone();
        let users = self.users.get(&record.name).into_iter().flatten().cloned().collect();
        Arc::new(VolumeView {
            mountpoint: root.join(&record.name).join(DATA),
            name: record.name,
            driver: "local".into(),
            created: record.created,
            options: record.options,
            labels: record.labels,
            anonymous: record.anonymous,
            users,
        })
    }

    fn find(&self, name: &str) -> Result<&Arc<VolumeRecord>> {
        self.volumes.get(name).ok_or_else(|| Error::not_found(format!("get {name}: no such volume")))
    }
}

impl Volumes {
    /// Loads the records; `root` is the directory `volumes`. What a removal has left is deleted.
    ///
    /// # Errors
    /// `Internal` when the store or the directory cannot be read.
    pub async fn open(store: Store, root: PathBuf) -> Result<Self> {
        let records = store.read(volume::list)?;
        let directory = root.clone();
        blocking(move || prepare_root(&directory)).await?;
        let volumes = records.into_iter().map(|record| (record.name.clone(), Arc::new(record))).collect();
        let state = RwLock::new(State { volumes, users: BTreeMap::new() });
        Ok(Self { shared: Arc::new(Shared { store, root, state, change: tokio::sync::Mutex::new(()) }) })
    }

    /// Creates a volume, or answers the one of this name when driver and options agree.
    ///
    /// # Errors
    /// `InvalidArgument` for a name or an option, `Conflict` when one of this name differs.
    pub async fn create(&self, spec: VolumeSpec) -> Result<Arc<VolumeView>> {
        let shared = Arc::clone(&self.shared);
        detached(async move { create(&shared, spec).await }).await
    }

    /// All volumes, by name. From memory.
    pub fn list(&self) -> Vec<Arc<VolumeView>> {
        let state = self.shared.read();
        state.volumes.values().map(|record| state.view(record, &self.shared.root)).collect()
    }

    /// One volume. From memory.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn get(&self, name: &str) -> Result<Arc<VolumeView>> {
        let state = self.shared.read();
        Ok(state.view(state.find(name)?, &self.shared.root))
    }

    /// Removes a volume and its data. `force` makes a missing one no error; it never removes one in use.
    ///
    /// # Errors
    /// `NotFound`, `Conflict` naming the containers that use it.
    pub async fn remove(&self, name: &str, force: bool) -> Result<()> {
        let (shared, name) = (Arc::clone(&self.shared), name.to_owned());
        let removed = detached(async move { remove(&shared, &name).await }).await;
        match removed {
            Err(error) if force && error.kind() == crate::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Removes the unused volumes for which `wanted` holds; answers their names and the bytes given back.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn prune(&self, wanted: impl Fn(&VolumeView) -> bool + Send) -> Result<(Vec<String>, u64)> {
        let unused: Vec<_> = self.list().into_iter().filter(|view| view.users.is_empty() && wanted(view)).collect();
        let (mut names, mut bytes) = (Vec::new(), 0);
        for view in unused {
            let size = self.usage(&view.name).await.unwrap_or_default();
            match self.remove(&view.name, false).await {
                Ok(()) => {
                    names.push(view.name.clone());
                    bytes += size;
                }
                // Used or removed meanwhile.
                Err(e) if matches!(e.kind(), crate::ErrorKind::Conflict | crate::ErrorKind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((names, bytes))
    }

    /// Bytes that a volume's own directory takes on the disk.
    ///
    /// # Errors
    /// `NotFound`, or when the directory cannot be read.
    pub async fn usage(&self, name: &str) -> Result<u64> {
        let mountpoint = self.get(name)?.mountpoint.clone();
        let name = name.to_owned();
        blocking(move || {
            let failed = |e| Error::internal(format!("measure volume {name}")).with_source(e);
            let directory = open_directory(&mountpoint).map_err(failed)?;
            usage_of(&directory, USAGE_DEPTH_MAX).map_err(failed)
        })
        .await
    }

    /// How to mount a volume; with `subpath`, a directory or file inside it that exists and does not lead out of it.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument` for the subpath, `Unavailable` when a network file system's host has no address.
    pub async fn mount(&self, name: &str, subpath: Option<&str>) -> Result<VolumeMount> {
        let view = self.get(name)?;
        let backing = local::backing(&view.options)?;
        let subpath = subpath.filter(|path| !path.is_empty()).map(str::to_owned);
        blocking(move || mount(&view, backing, subpath.as_deref())).await
    }

    /// Notes that a container uses a volume. The engine calls it at create, and at start-up for each container.
    pub fn hold(&self, name: &str, container: &ContainerId) {
        self.shared.write().users.entry(name.to_owned()).or_default().insert(container.clone());
    }

    /// Takes back [`Self::hold`] for all volumes of a container; answers their names.
    pub fn release(&self, container: &ContainerId) -> Vec<String> {
        let mut released = Vec::new();
        self.shared.write().users.retain(|name, users| {
            if users.remove(container) {
                released.push(name.clone());
            }
            !users.is_empty()
        });
        released
    }

    /// Copies what `path` (inside the rootfs `root`) holds into an empty volume; a volume with content, or with options,
    /// is left alone. Answers whether something was copied.
    ///
    /// # Errors
    /// When something cannot be copied; the volume is empty then, as before.
    pub async fn copy_up(&self, name: &str, root: BorrowedFd<'_>, path: &str) -> Result<bool> {
        let root = root.try_clone_to_owned()?;
        let (shared, name, path) = (Arc::clone(&self.shared), name.to_owned(), PathBuf::from(path));
        detached(async move {
            let _order = shared.change.lock().await;
            let record = Arc::clone(shared.read().find(&name)?);
            if local::backing(&record.options)? != Backing::Directory {
                return Ok(false);
            }
            let shared_by_others = shared.read().users.get(&name).is_some_and(|users| users.len() > 1);
            let directory = shared.root.join(&name);
            blocking(move || {
                copy_into(&directory, &RootFd::from_fd(root), &path, shared_by_others).map_err(|error| {
                    let what = format!("fill volume {name} from {} of the image", path.display());
                    Error::from(error).context(what)
                })
            })
            .await
        })
        .await
    }
}

impl Shared {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn create(shared: &Arc<Shared>, spec: VolumeSpec) -> Result<Arc<VolumeView>> {
    if !matches!(spec.driver.as_str(), "" | "local") {
        let message = format!("error looking up volume plugin {0}: plugin {0:?} not found", spec.driver);
        return Err(Error::not_found(message).context("this engine has the driver \"local\""));
    }
    local::backing(&spec.options)?;
    let anonymous = spec.name.is_none();
    let name = spec.name.unwrap_or_else(|| ContainerId::random().as_str().to_owned());
    local::check_name(&name)?;
    let mut labels = spec.labels;
    if anonymous {
        labels.entry(LABEL_ANONYMOUS.to_owned()).or_default();
    }
    let _order = shared.change.lock().await;
    {
        let state = shared.read();
        if let Some(existing) = state.volumes.get(&name) {
            if !spec.options.is_empty() && existing.options != spec.options {
                let message = format!("volume name {name} already in use: it has other options than asked for");
                return Err(Error::conflict(message));
            }
            return Ok(state.view(existing, &shared.root));
        }
    }
    let created = Timestamp::now();
    let record = VolumeRecord { v: RECORD_VERSION, name, created, options: spec.options, labels, anonymous };
    // The directory is there before the row that names it.
    let directory = shared.root.join(&record.name);
    blocking(move || make_directory(&directory)).await?;
    let row = record.clone();
    shared.store.write(Durability::Power, move |tx| volume::insert(tx, &row)).await?;
    let mut state = shared.write();
    let record = Arc::new(record);
    state.volumes.insert(record.name.clone(), Arc::clone(&record));
    Ok(state.view(&record, &shared.root))
}

async fn remove(shared: &Arc<Shared>, name: &str) -> Result<()> {
    let _order = shared.change.lock().await;
    {
        let mut state = shared.write();
        state.find(name)?;
        if let Some(users) = state.users.get(name).filter(|users| !users.is_empty()) {
            let users: Vec<_> = users.iter().map(ContainerId::as_str).collect();
            return Err(Error::conflict(format!("remove {name}: volume is in use - [{}]", users.join(", "))));
        }
        // From here on no container can be made with it.
        state.volumes.remove(name);
    }
    let row = name.to_owned();
    shared.store.write(Durability::Power, move |tx| volume::delete(tx, &row)).await?;
    let (root, name) = (shared.root.clone(), name.to_owned());
    blocking(move || {
        delete_directory(&root, &name).map_err(|e| Error::from(e).context(format!("delete the data of volume {name}")))
    })
    .await
}

fn prepare_root(root: &Path) -> Result<()> {
    let failed = |e: io::Error| Error::from(e).context(format!("prepare {}", root.display()));
    make_directory_private(root).map_err(failed)?;
    let directory = open_directory(root).map_err(failed)?;
    for name in directory.names().map_err(failed)? {
        if name.as_encoded_bytes().starts_with(REMOVED_PREFIX.as_bytes())
            && let Err(error) = directory.remove_all(&name)
        {
            tracing::warn!(%error, path = %root.join(&name).display(), "a removed volume's data is left");
        }
    }
    Ok(())
}

fn make_directory_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn make_directory(directory: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let failed = |e: io::Error| Error::from(e).context(format!("make {}", directory.display()));
    make_directory_private(directory).map_err(failed)?;
    let data = directory.join(DATA);
    make_directory_private(&data).map_err(failed)?;
    // As the root of a file system would be: the volume belongs to whoever uses it.
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).map_err(failed)
}

/// Out of the way in one step, then deleted name by name: a crash in between is finished at the next start.
fn delete_directory(root: &Path, name: &str) -> io::Result<()> {
    let root = open_directory(root)?;
    let aside = OsString::from(format!("{REMOVED_PREFIX}{}", ContainerId::random().short()));
    match rustix::fs::renameat_with(&root, name, &root, &aside, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        other => other?,
    }
    root.remove_all(&aside)
}

fn open_directory(path: &Path) -> io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(Dir::from_fd(rustix::fs::open(path, flags, Mode::empty())?))
}

fn usage_of(directory: &Dir, depth: usize) -> io::Result<u64> {
    let mut bytes = 0;
    for name in directory.names()? {
        // It may be in use: what is gone meanwhile counts nothing.
        let Ok(stat) = directory.stat(&name) else { continue };
        // A file with several links is shared out between them.
        bytes += stat.st_blocks.cast_unsigned() * 512 / stat.st_nlink.max(1);
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory
            && depth > 0
            && let Ok(below) = directory.open(&name, OFlags::RDONLY | OFlags::DIRECTORY)
        {
            bytes += usage_of(&Dir::from_fd(below), depth - 1)?;
        }
    }
    Ok(bytes)
}

fn mount(view: &VolumeView, backing: Backing, subpath: Option<&str>) -> Result<VolumeMount> {
    let (directory, options) = match backing {
        Backing::Directory => (view.mountpoint.clone(), vec!["rbind".to_owned()]),
        Backing::Bind { device, options } => (PathBuf::from(device), options),
        Backing::Filesystem { .. } if subpath.is_some() => {
            let message = format!("volume {}: a subpath of a volume with its own file system", view.name);
            return Err(Error::not_implemented(message));
        }
        Backing::Filesystem { kind, device, options } => {
            let options = local::resolve_address(options)?;
            return Ok(VolumeMount { kind, source: device, options, pin: None });
        }
    };
    let Some(subpath) = subpath else {
        let source = directory.to_string_lossy().into_owned();
        return Ok(VolumeMount { kind: "bind".into(), source, options, pin: None });
    };
    let fd = open_subpath(&directory, subpath).map_err(|e| {
        let message = format!("invalid subpath {subpath:?} of volume {}", view.name);
        Error::invalid(message).with_source(e)
    })?;
    // The descriptor stays on what was found, whatever the path is made to lead to from now on.
    let source = format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd());
    Ok(VolumeMount { kind: "bind".into(), source, options, pin: Some(Arc::new(fd)) })
}

fn open_subpath(directory: &Path, subpath: &str) -> io::Result<OwnedFd> {
    let path = Path::new(subpath);
    let inside = |part: std::path::Component<'_>| matches!(part, std::path::Component::Normal(_));
    if !path.components().all(inside) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it must be a relative path without '..'"));
    }
    RootFd::open(directory)?.open_file(path, OFlags::PATH, Mode::empty())
}

/// Fills the volume in `directory`. Copied beside and moved in one step, so that a crash leaves an empty volume; where
/// another container may have it mounted already, in place.
fn copy_into(directory: &Path, root: &RootFd, path: &Path, in_place: bool) -> io::Result<bool> {
    let volume = open_directory(directory)?;
    if !open_directory(&directory.join(DATA))?.names()?.is_empty() {
        return Ok(false);
    }
    let source = match root.open_file(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK, Mode::empty()) {
        Ok(fd) => Dir::from_fd(fd),
        // The image has nothing there, or no directory.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => return Ok(false),
        Err(error) => return Err(error),
    };
    if in_place {
        let data = RootFd::open(&directory.join(DATA))?;
        return copy_up::copy_tree(&source, &data).inspect_err(|_| empty(&directory.join(DATA))).map(|()| true);
    }
    let copy = OsStr::new(COPY);
    volume.remove_all(copy)?;
    volume.mkdir(copy, Mode::RWXU)?;
    let copied = copy_up::copy_tree(&source, &RootFd::open(&directory.join(COPY))?);
    // A directory may be moved over an empty one.
    let moved = copied.and_then(|()| Ok(rustix::fs::renameat(&volume, copy, &volume, DATA)?));
    if moved.is_err() {
        volume.remove_all(copy)?;
    }
    moved.map(|()| true)
}

fn empty(data: &Path) {
    let emptied = open_directory(data).and_then(|dir| dir.names()?.iter().try_for_each(|name| dir.remove_all(name)));
    if let Err(error) = emptied {
        tracing::warn!(%error, path = %data.display(), "a volume is left half filled");
    }
}

async fn blocking<T: Send + 'static>(f: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let joined = tokio::task::spawn_blocking(f).await;
    joined.unwrap_or_else(|e| Err(Error::internal("volume work ended early").with_source(e)))
}

/// Runs work that goes on when the caller goes away.
async fn detached<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let joined = tokio::spawn(work).await;
    joined.unwrap_or_else(|e| Err(Error::internal("volume work ended early").with_source(e)))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::ErrorKind;

    struct Lab {
        directory: tempfile::TempDir,
        volumes: Volumes,
    }

    impl Lab {
        async fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let volumes = Self::open(directory.path()).await;
            Self { directory, volumes }
        }

        async fn open(directory: &Path) -> Volumes {
            let store = Store::open(&directory.join("meta.db")).unwrap();
            Volumes::open(store, directory.join("volumes")).await.unwrap()
        }

        fn root(&self) -> PathBuf {
            self.directory.path().join("volumes")
        }
    }

    fn named(name: &str) -> VolumeSpec {
        VolumeSpec { name: Some(name.into()), ..VolumeSpec::default() }
    }

    #[tokio::test]
    async fn volumes_are_created_found_again_and_removed() {
        let lab = Lab::new().await;
        let made = lab.volumes.create(named("data")).await.unwrap();
        assert_eq!(made.mountpoint, lab.root().join("data/_data"));
        std::fs::write(made.mountpoint.join("file"), "kept").unwrap();
        assert_eq!(lab.volumes.create(named("data")).await.unwrap(), made, "the same again");
        let other = VolumeSpec {
            options: [("type".into(), "tmpfs".into()), ("device".into(), "tmpfs".into())].into(),
            ..named("data")
        };
        assert_eq!(lab.volumes.create(other).await.unwrap_err().kind(), ErrorKind::Conflict);
        let anonymous = lab.volumes.create(VolumeSpec::default()).await.unwrap();
        assert!(anonymous.anonymous && anonymous.name.len() == 64 && anonymous.labels.contains_key(LABEL_ANONYMOUS));

        let again = Lab::open(lab.directory.path()).await;
        assert_eq!(again.list(), lab.volumes.list());
        assert!(again.usage("data").await.unwrap() >= 4096);
        again.remove("data", false).await.unwrap();
        assert!(!lab.root().join("data").exists());
        assert_eq!(again.remove("data", false).await.unwrap_err().kind(), ErrorKind::NotFound);
        again.remove("data", true).await.unwrap();
        assert_eq!(again.prune(|view| view.anonymous).await.unwrap().0, std::slice::from_ref(&anonymous.name));
        assert_eq!(std::fs::read_dir(lab.root()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_volume_in_use_stays() {
        let lab = Lab::new().await;
        lab.volumes.create(named("data")).await.unwrap();
        let container = ContainerId::random();
        lab.volumes.hold("data", &container);
        let error = lab.volumes.remove("data", true).await.unwrap_err();
        assert_eq!(error.message(), format!("remove data: volume is in use - [{container}]"));
        assert!(lab.volumes.prune(|_| true).await.unwrap().0.is_empty());
        assert_eq!(lab.volumes.get("data").unwrap().users, std::slice::from_ref(&container));
        assert_eq!(lab.volumes.release(&container), ["data"]);
        lab.volumes.remove("data", false).await.unwrap();
    }

    #[tokio::test]
    async fn wrong_volumes_are_refused() {
        let lab = Lab::new().await;
        for (name, expected) in
            [("../x", "invalid characters"), ("x", "too short"), (".removed-1", "invalid characters")]
        {
            let error = lab.volumes.create(named(name)).await.unwrap_err();
            assert!(error.message().contains(expected), "{error}");
        }
        let foreign = VolumeSpec { driver: "rexray".into(), ..named("data") };
        assert!(lab.volumes.create(foreign).await.unwrap_err().message().contains("rexray"));
        assert!(lab.volumes.list().is_empty());
    }

    #[tokio::test]
    async fn an_interrupted_removal_is_finished_at_start() {
        let lab = Lab::new().await;
        std::fs::create_dir_all(lab.root().join(".removed-abc/_data/deep")).unwrap();
        Lab::open(lab.directory.path()).await;
        assert_eq!(std::fs::read_dir(lab.root()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_subpath_stays_inside() {
        let lab = Lab::new().await;
        let data = lab.volumes.create(named("data")).await.unwrap().mountpoint.clone();
        std::fs::create_dir_all(data.join("a/b")).unwrap();
        std::fs::write(data.join("a/b/mark"), "inside").unwrap();
        symlink("/etc", data.join("out")).unwrap();
        let mount = lab.volumes.mount("data", Some("a/b")).await.unwrap();
        std::fs::rename(data.join("a"), data.join("moved")).unwrap();
        symlink("/etc", data.join("a")).unwrap();
        assert_eq!(std::fs::read(Path::new(&mount.source).join("mark")).unwrap(), b"inside");
        for wrong in ["../data", "/etc", "out", "nowhere", "moved/../.."] {
            let error = lab.volumes.mount("data", Some(wrong)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{wrong}: {error}");
        }
        let whole = lab.volumes.mount("data", None).await.unwrap();
        assert_eq!((whole.kind.as_str(), whole.source), ("bind", data.to_string_lossy().into_owned()));
    }

    #[tokio::test]
    async fn a_new_volume_is_filled_once_from_inside_the_image() {
        let lab = Lab::new().await;
        let image = lab.directory.path().join("image");
        std::fs::create_dir_all(image.join("var/lib")).unwrap();
        std::fs::write(image.join("var/lib/file"), "from the image").unwrap();
        // A link of the image that would leave it is followed inside of it.
        symlink("/var/lib", image.join("link")).unwrap();
        symlink("../../../../../../etc", image.join("escape")).unwrap();
        let root = rustix::fs::open(&image, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        lab.volumes.create(named("data")).await.unwrap();
        assert!(!lab.volumes.copy_up("data", root.as_fd(), "/escape").await.unwrap(), "there is no /etc in the image");
        assert!(!lab.volumes.copy_up("data", root.as_fd(), "/../../etc").await.unwrap());
        assert!(lab.volumes.copy_up("data", root.as_fd(), "/link").await.unwrap());
        let file = lab.root().join("data/_data/file");
        assert_eq!(std::fs::read(&file).unwrap(), b"from the image");
        std::fs::write(&file, "changed").unwrap();
        assert!(!lab.volumes.copy_up("data", root.as_fd(), "/link").await.unwrap(), "once");
        assert_eq!(std::fs::read(&file).unwrap(), b"changed");
        assert_eq!(std::fs::read_dir(lab.root().join("data")).unwrap().count(), 1, "nothing beside the data");
    }
}
