//! The engine: a cheap handle that both doors hold. It looks up, creates and lists; policy is below.
//!
//! A call that changes something is carried out by the object's driver: a client that goes away cancels nothing.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Debug;
use std::fs::File;
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio_util::sync::CancellationToken;

use crate::build::Builder;
use crate::build::sources::Sources;
use crate::config::EngineConfig;
use crate::container::exec::Exec;
use crate::container::handle::ContainerCell;
use crate::container::rootfs::UserFiles;
use crate::container::{ContainerHandle, ContainerView, ExecHandle, Phase, RemoveOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, EventBus, NewEvent, now_ns};
use crate::handler_features::{HandlerFeatures, KnownFeatures};
use crate::host;
use crate::id::{ContainerId, ExecId, ImageId, Owner, SandboxId};
use crate::image::Images;
use crate::metadata::{Durability, Store, tables};
use crate::names::NameIndex;
use crate::network::Networks;
use crate::network::cni::PodNetwork;
use crate::sandbox::handle::{SandboxCell, detached};
use crate::sandbox::{SandboxHandle, SandboxView};
use crate::snapshot::{Snapshotter, UsageBook};
use crate::spec::facts::HostFacts;
use crate::spec::{ContainerSpec, SandboxSpec};
use crate::task::{ShimRuntime, TaskRuntime};
use crate::volume::Volumes;

/// Images whose user files are kept in memory.
const USER_FILES_KEPT_MAX: usize = 256;
/// Sets of capabilities whose seccomp section is kept in memory.
const SECCOMP_KEPT_MAX: usize = 64;

/// Everything a door can ask for.
#[derive(Debug, Clone)]
pub struct Engine {
    core: Arc<Core>,
}

/// What all objects of one engine share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: EngineConfig,
    pub(crate) store: Store,
    pub(crate) events: EventBus,
    pub(crate) images: Images,
    pub(crate) networks: Networks,
    pub(crate) pod_network: PodNetwork,
    pub(crate) volumes: Volumes,
    pub(crate) sources: Sources,
    pub(crate) builder: Builder,
    pub(crate) snapshots: Arc<dyn Snapshotter>,
    pub(crate) usage: UsageBook,
    /// Walks of [`crate::disk_usage`] that may begin.
    pub(crate) walks: tokio::sync::Semaphore,
    pub(crate) runtime: Arc<dyn TaskRuntime>,
    pub(crate) host: HostFacts,
    pub(crate) containers: Table<ContainerId, ContainerCell>,
    pub(crate) container_names: NameIndex<ContainerId>,
    pub(crate) sandboxes: Table<SandboxId, SandboxCell>,
    pub(crate) sandbox_names: NameIndex<SandboxId>,
    pub(crate) execs: Table<ExecId, Exec>,
    pub(crate) user_files: Cache<ImageId, Arc<UserFiles>>,
    pub(crate) seccomp: Cache<u64, Arc<str>>,
    pub(crate) closing: CancellationToken,
    changes: AtomicU64,
    opened_ns: i64,
    info: EngineInfo,
    /// Held for as long as the engine is open.
    pub(crate) features: KnownFeatures,
    _locks: [File; 2],
}

impl Core {
    /// The number of the next change of any container.
    pub(crate) fn next_change(&self) -> u64 {
        self.changes.fetch_add(1, Ordering::Relaxed) + 1
    }
    /// Where the engine keeps what belongs to a container: its log.
    pub(crate) fn container_dir(&self, id: &ContainerId) -> PathBuf {
        self.config.root.join("containers").join(id.as_str())
    }
    /// Where the engine keeps what belongs to a sandbox: the files mounted over /etc.
    pub(crate) fn sandbox_dir(&self, id: &SandboxId) -> PathBuf {
        self.config.root.join("sandboxes").join(id.as_str())
    }
    /// Forgets the execs of a container that is gone.
    pub(crate) fn forget_execs(&self, container: &ContainerId) {
        self.execs.retain(|exec| exec.container.id != *container);
    }
    /// How many execs of a container are kept.
    pub(crate) fn execs_of(&self, container: &ContainerId) -> usize {
        self.execs.all().iter().filter(|exec| exec.container.id == *container).count()
    }
}

/// The objects of one kind, by id.
#[derive(Debug)]
pub(crate) struct Table<K, V>(RwLock<HashMap<K, Arc<V>>>);

impl<K: Eq + Hash, V> Table<K, V> {
    fn new() -> Self {
        Self(RwLock::new(HashMap::new()))
    }
    pub(crate) fn get(&self, id: &K) -> Option<Arc<V>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }
    pub(crate) fn insert(&self, id: K, value: Arc<V>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(id, value);
    }
    pub(crate) fn remove(&self, id: &K) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
    fn retain(&self, keep: impl Fn(&V) -> bool) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).retain(|_, value| keep(value));
    }
    pub(crate) fn all(&self) -> Vec<Arc<V>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// A bounded cache; the oldest entry goes first.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    entries: Mutex<VecDeque<(K, V)>>,
    len_max: usize,
}

impl<K: PartialEq, V: Clone> Cache<K, V> {
    fn new(len_max: usize) -> Self {
        Self { entries: Mutex::new(VecDeque::new()), len_max }
    }
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().find(|(k, _)| k == key).map(|(_, value)| value.clone())
    }
    pub(crate) fn put(&self, key: K, value: V) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|(k, _)| *k != key);
        if entries.len() >= self.len_max {
            entries.pop_front();
        }
        entries.push_back((key, value));
    }
}

/// Follows events; `None` never comes while the engine runs. A follower that is too slow gets
/// [`crate::ErrorKind::ResourceExhausted`] once with the number it missed, then goes on.
pub type EventReceiver = tokio::sync::mpsc::Receiver<Result<Arc<Event>>>;

/// Facts about node and engine, for `docker info` and CRI `Status`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EngineInfo {
    /// Made at the first start, kept for ever.
    pub daemon_id: String,
    /// Node name.
    pub hostname: String,
    /// Number of CPUs.
    pub cpus: usize,
    /// Bytes.
    pub memory_bytes: u64,
    /// `uname -r`.
    pub kernel: String,
    /// `PRETTY_NAME` of os-release.
    pub operating_system: String,
    /// `x86_64`.
    pub architecture: String,
    /// 1 or 2.
    pub cgroup_version: u8,
    /// Names of runtime handlers.
    pub runtimes: Vec<String>,
    /// Things a user should know: a missing capability or controller.
    pub warnings: Vec<String>,
    /// `(name, ready, reason)`: RuntimeReady, NetworkReady.
    pub conditions: Vec<(String, bool, String)>,
}

/// What `create_container` made.
#[derive(Debug, Clone)]
pub struct CreatedContainer {
    /// The container.
    pub container: ContainerHandle,
    /// Things the user should know.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Takes the lock on the root, opens the stores, recovers what was there and starts the drivers.
    ///
    /// # Errors
    /// `Conflict` when another daemon uses the same root or run directory.
    pub async fn open(config: EngineConfig) -> Result<Self> {
        let runtime = Arc::new(ShimRuntime::new(&config));
        Self::open_with(config, runtime).await
    }

    /// As [`Engine::open`], with another way to run tasks.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub async fn open_with(config: EngineConfig, runtime: Arc<dyn TaskRuntime>) -> Result<Self> {
        let opened_ns = now_ns();
        let locks = [lock(&config.root, "root")?, lock(&config.run, "run directory")?];
        let store = Store::open(&config.root.join("meta.db"))?;
        let events = EventBus::open(store.clone(), config.limits.events_kept_max)?;
        let images = Images::open(store.clone(), config.image_settings()).await?;
        let network_settings = config.network_settings()?;
        let pod_network = PodNetwork::open(&network_settings, store.clone())?;
        let networks = Networks::open(store.clone(), network_settings).await?;
        let volumes = Volumes::open(store.clone(), config.root.join("volumes")).await?;
        let builder = Builder::open(&config.root, &config.run)?;
        let host = host::facts();
        let info = host::info(&config, &host, daemon_id(&store).await?);
        let core = Arc::new(Core {
            snapshots: images.snapshotter(),
            sources: Sources::new(&config.root),
            usage: UsageBook::open(images.snapshotter()),
            walks: tokio::sync::Semaphore::new(crate::disk_usage::WALKS_MAX),
            config,
            store,
            events,
            images,
            networks,
            pod_network,
            volumes,
            builder,
            runtime,
            host,
            containers: Table::new(),
            container_names: NameIndex::new("container"),
            sandboxes: Table::new(),
            sandbox_names: NameIndex::new("sandbox"),
            execs: Table::new(),
            user_files: Cache::new(USER_FILES_KEPT_MAX),
            seccomp: Cache::new(SECCOMP_KEPT_MAX),
            closing: CancellationToken::new(),
            changes: AtomicU64::new(0),
            opened_ns,
            info,
            features: KnownFeatures::default(),
            _locks: locks,
        });
        crate::recover::recover(&core).await?;
        let embedded = &core.config.images.embedded_image;
        if !embedded.as_os_str().is_empty()
            && let Err(error) = crate::embedded::load(&core.store, &core.images, embedded).await
        {
            // A node must serve its containers without it.
            tracing::error!(%error, "the embedded image could not be loaded");
        }
        Ok(Self { core })
    }
    /// Flushes and stops. Containers go on.
    pub async fn close(&self) {
        self.core.closing.cancel();
        self.core.networks.settle().await;
        // The writer thread works in order: when this is done, all before it is.
        if let Err(error) = self.core.store.write(Durability::Power, |_| Ok(())).await {
            tracing::warn!(%error, "the metadata could not be flushed");
        }
    }
    pub(crate) fn core(&self) -> &Core {
        &self.core
    }
    pub(crate) fn core_arc(&self) -> &Arc<Core> {
        &self.core
    }
    /// The configuration.
    pub fn config(&self) -> &EngineConfig {
        &self.core.config
    }
    /// The images of both doors.
    pub fn images(&self) -> &Images {
        &self.core.images
    }
    /// The networks of both doors.
    pub fn networks(&self) -> &Networks {
        &self.core.networks
    }
    /// The volumes of both doors.
    pub fn volumes(&self) -> &Volumes {
        &self.core.volumes
    }
    /// Facts.
    pub fn info(&self) -> EngineInfo {
        let mut info = self.core.info.clone();
        let lacking = host::lacking(&self.core.config);
        info.conditions.push(("RuntimeReady".to_owned(), lacking.is_none(), lacking.unwrap_or_default()));
        let (ready, reason) = match self.core.pod_network.readiness() {
            Ok(()) => (true, String::new()),
            Err(reason) => (false, reason),
        };
        info.conditions.push(("NetworkReady".to_owned(), ready, reason));
        info
    }
    /// What each runtime handler can do, by name. A program that was not asked yet is asked, which takes some time.
    pub async fn handler_features(&self) -> BTreeMap<String, HandlerFeatures> {
        self.core.features.all(&self.core.config).await
    }
    /// Takes the subnets of this node's pods over, as the kubelet tells them: `10.1.0.0/24` or `10.1.0.0/24,fd00::/64`.
    /// CNI plugins that declare `ipRanges` are told them; without plugins pods have a bridge of these subnets.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no subnet; without plugins `Conflict` while pods are in others.
    pub async fn set_pod_subnets(&self, text: &str) -> Result<()> {
        let subnets = crate::network::cni::parse_subnets(text)?;
        if !self.core.pod_network.in_use() {
            self.core.networks.of_pods(&subnets).await?;
        }
        self.core.pod_network.set_pod_subnets(text).await
    }
    /// Makes a container (record, writable layer, volumes); nothing runs yet.
    ///
    /// # Errors
    /// `InvalidArgument`, `NotFound` (image, sandbox, network), `AlreadyExists` (name).
    pub async fn create_container(&self, spec: ContainerSpec) -> Result<CreatedContainer> {
        let core = Arc::clone(&self.core);
        detached(async move { crate::container::create::create(&core, spec).await }).await
    }
    /// By id, unique id prefix or name (with or without leading slash). Names are looked up among `docker` first.
    ///
    /// # Errors
    /// `NotFound` `No such container: X`; `InvalidArgument` for an ambiguous prefix.
    pub fn container(&self, name: &str) -> Result<ContainerHandle> {
        let id = self.core.container_names.resolve(name)?;
        let missing = || Error::not_found(format!("No such container: {name}"));
        Ok(ContainerHandle { cell: self.core.containers.get(&id).ok_or_else(missing)?, core: Arc::clone(&self.core) })
    }
    /// All containers of both doors, newest first. From memory.
    pub fn containers(&self) -> Vec<Arc<ContainerView>> {
        let mut views: Vec<_> = self.core.containers.all().iter().map(|cell| cell.view()).collect();
        views.sort_by(|a, b| b.created_ns.cmp(&a.created_ns).then_with(|| a.id.cmp(&b.id)));
        views
    }
    /// Makes and starts a sandbox (CRI RunPodSandbox).
    ///
    /// # Errors
    /// As [`Engine::create_container`].
    pub async fn run_sandbox(&self, spec: SandboxSpec) -> Result<SandboxHandle> {
        let core = Arc::clone(&self.core);
        detached(async move { crate::sandbox::run::run(&core, spec).await }).await
    }
    /// By id, unique id prefix or name.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn sandbox(&self, name: &str) -> Result<SandboxHandle> {
        let missing = || Error::not_found(format!("No such sandbox: {name}"));
        let id = match name.parse::<SandboxId>() {
            Ok(id) => id,
            Err(_) => self.core.sandbox_names.resolve(name)?,
        };
        Ok(SandboxHandle { cell: self.core.sandboxes.get(&id).ok_or_else(missing)?, core: Arc::clone(&self.core) })
    }
    /// All sandboxes (also docker containers' own), newest first. From memory.
    pub fn sandboxes(&self) -> Vec<Arc<SandboxView>> {
        let mut views: Vec<_> = self.core.sandboxes.all().iter().map(|cell| cell.view.borrow().clone()).collect();
        views.sort_by(|a, b| b.created_ns.cmp(&a.created_ns).then_with(|| a.id.cmp(&b.id)));
        views
    }
    /// By exec id.
    ///
    /// # Errors
    /// `NotFound` `No such exec instance: X`.
    pub fn exec(&self, id: &str) -> Result<ExecHandle> {
        let missing = || Error::not_found(format!("No such exec instance: {id}"));
        let parsed = id.parse().map_err(|_| missing())?;
        Ok(ExecHandle { exec: self.core.execs.get(&parsed).ok_or_else(missing)?, core: Arc::clone(&self.core) })
    }
    /// Events from `since_ns` (ns since 1970; `None` = only new ones) on: those kept, then those that come.
    pub fn events(&self, since_ns: Option<i64>) -> EventReceiver {
        self.core.events.follow(since_ns)
    }
    /// When this engine was opened, ns since 1970: events of what its recovery found are later.
    pub fn opened_ns(&self) -> i64 {
        self.core.opened_ns
    }
    /// The sequence number of the newest event.
    pub fn event_seq(&self) -> u64 {
        self.core.events.seq()
    }
    /// Tells of something that a door did with images, networks or volumes.
    pub async fn publish(&self, event: NewEvent) {
        self.core.events.publish(event).await;
    }
    /// Removes all stopped docker containers that `wanted` accepts; returns their ids and the bytes freed.
    ///
    /// # Errors
    /// The first removal that fails; those before it stay removed.
    pub async fn prune_containers(
        &self,
        wanted: impl Fn(&ContainerView) -> bool + Send,
    ) -> Result<(Vec<ContainerId>, u64)> {
        let at_rest = |view: &ContainerView| matches!(view.phase, Phase::Created | Phase::Exited | Phase::Dead);
        let mut chosen = self.containers();
        chosen.retain(|view| view.spec.owner == Owner::Docker && at_rest(view) && wanted(view));
        let (mut removed, mut bytes) = (Vec::new(), 0);
        for view in chosen {
            let used = match view.id.as_str().parse() {
                Ok(key) => self.core.snapshots.usage(&key).await.map_or(0, |usage| usage.bytes),
                Err(_) => 0,
            };
            let handle = match self.container(view.id.as_str()) {
                Ok(handle) => handle,
                Err(_) => continue,
            };
            match handle.remove(Owner::Docker, RemoveOptions::default()).await {
                Ok(()) => {
                    removed.push(view.id.clone());
                    bytes += used;
                }
                // Started or removed by somebody else in the meantime.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((removed, bytes))
    }
}

/// Makes a directory of the engine and takes it for this process alone.
fn lock(dir: &Path, what: &str) -> Result<File> {
    use std::os::unix::fs::DirBuilderExt as _;
    let named = |e: std::io::Error| Error::from(e).context(format!("{what} {}", dir.display()));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(named)?;
    let file = File::options().create(true).append(true).open(dir.join("lock")).map_err(named)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(Error::conflict(format!("another daemon uses the {what} {}", dir.display())))
        }
        Err(error) => Err(named(error.into())),
    }
}

/// This daemon's id: made once, then kept.
async fn daemon_id(store: &Store) -> Result<String> {
    const KEY: &str = "daemon_id";
    if let Some(id) = store.read(|c| tables::setting::get(c, KEY))? {
        return Ok(id);
    }
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|e| Error::internal(format!("make the daemon's id: {e}")))?;
    let hex = hex::encode(bytes);
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    let id = parts.join("-");
    let stored = id.clone();
    store.write(Durability::Power, move |tx| tables::setting::put(tx, KEY, &stored)).await?;
    Ok(id)
}
