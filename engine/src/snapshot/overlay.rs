//! Layers and writable layers as overlayfs stacks them.
//!
//! ```text
//! <root>/layers/<diffid hex>/fs   a layer, as it is a lower directory
//! <root>/active/<key>/fs          what a container writes (upper), with <key>/work beside it
//! <root>/empty                    the lower directory of a snapshot without layers
//! <root>/staging/<name>/fs        layers being unpacked; of no use after a crash
//! ```
//!
//! A layer exists when its row exists. It is unpacked in `staging`, renamed, synced and then recorded; what has a
//! directory and no row is removed at the next start.

use std::collections::HashMap;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;

use crate::content::{make_private_dir, random_name};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Digest, LayerId};
use crate::metadata::tables::layer::{self, LayerRecord, LayerRow};
use crate::metadata::tables::snapshot;
use crate::metadata::{Durability, Store};

use super::apply::Applied;
use super::{Mount, SnapshotKey, SnapshotKind, SnapshotView, Snapshotter, Usage, count};

/// Layers in one mount: what overlayfs takes.
const LAYERS_MAX: usize = 500;
/// The longest time that a walk over a container's own files may take.
const USAGE_LIMIT: Duration = Duration::from_secs(20);
/// The longest time that a walk over a new layer may take.
const LAYER_COUNT_LIMIT: Duration = Duration::from_secs(600);

/// The overlayfs snapshotter; cheap to clone.
#[derive(Debug, Clone)]
pub struct Overlay {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    root: PathBuf,
    layers: RwLock<HashMap<LayerId, Arc<LayerRecord>>>,
    snapshots: RwLock<HashMap<SnapshotKey, Arc<SnapshotView>>>,
    gate: tokio::sync::RwLock<()>,
}

/// A layer being unpacked. Dropping it removes what was written.
#[derive(Debug)]
pub(crate) struct Staging {
    path: PathBuf,
    kept: bool,
}

impl Staging {
    /// The directory to write the layer into.
    pub(crate) fn fs(&self) -> PathBuf {
        self.path.join("fs")
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = remove_tree(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a half-unpacked layer");
        }
    }
}

impl Overlay {
    /// Opens or makes the directory of layers and clears away what is half there.
    ///
    /// # Errors
    /// `InvalidArgument` for a root that cannot be written in a mount option; `Internal` when it cannot be made.
    pub async fn open(store: Store, root: &Path) -> Result<Self> {
        let text =
            root.to_str().ok_or_else(|| Error::invalid("the directory of layers has a name that is not UTF-8"))?;
        if !root.is_absolute() || text.contains([':', ',', '\\', '"']) {
            return Err(Error::invalid(format!(
                "{text:?} cannot hold layers: it must be absolute, without : , \\ or \""
            )));
        }
        for dir in ["layers", "active", "staging", "empty"] {
            make_private_dir(&root.join(dir))?;
        }
        std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o700))?;
        std::fs::set_permissions(root.join("empty"), std::fs::Permissions::from_mode(0o755))?;
        let layers = known_layers(&store, root).await?;
        let snapshots = known_snapshots(&store, root).await?;
        clear_unknown(root, &layers, &snapshots)?;
        let inner = Inner {
            store,
            root: root.to_owned(),
            layers: RwLock::new(layers),
            snapshots: RwLock::new(snapshots),
            gate: tokio::sync::RwLock::new(()),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Where layers are.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Held for writing by a sweep from its first look to its last removal, and for reading by whoever begins to hold
    /// something: a holder is either seen by the sweep or finds what the sweep has left.
    pub(crate) fn gate(&self) -> &tokio::sync::RwLock<()> {
        &self.inner.gate
    }

    /// The record of a layer; `None` if it is not here. From memory.
    pub fn layer(&self, id: LayerId) -> Option<Arc<LayerRecord>> {
        self.inner.layers.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// All layers. From memory.
    pub fn layers(&self) -> Vec<(LayerId, Arc<LayerRecord>)> {
        let layers = self.inner.layers.read().unwrap_or_else(PoisonError::into_inner);
        layers.iter().map(|(id, record)| (*id, Arc::clone(record))).collect()
    }

    /// A place to unpack a layer in.
    pub(crate) fn stage(&self) -> Result<Staging> {
        let staging = Staging { path: self.inner.root.join("staging").join(random_name()), kept: false };
        make_private_dir(&staging.fs())?;
        Ok(staging)
    }

    /// Counts a layer and puts it in its place, neither synced nor recorded. Blocking.
    pub(crate) fn place(
        &self,
        mut staging: Staging,
        id: LayerId,
        digest: Digest,
        applied: Applied,
    ) -> Result<LayerRow> {
        let usage = count::count(&staging.fs(), LAYER_COUNT_LIMIT)?;
        let target = self.layer_dir(id);
        match std::fs::rename(&staging.path, &target) {
            Ok(()) => staging.kept = true,
            // Placed meanwhile by somebody else (start-up has cleared what an earlier daemon left): the bytes have the
            // same diff id, so the layer is the same, and ours goes.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTEMPTY | libc::EEXIST)) => {}
            Err(error) => return Err(Error::from(error).context(format!("place layer {id}"))),
        }
        let implied = applied.implied.iter().filter_map(|path| path.to_str().map(str::to_owned)).collect();
        let record = LayerRecord {
            v: 1,
            bytes: usage.bytes,
            inodes: usage.inodes,
            names_root: applied.names_root,
            implied,
            created: jiff::Timestamp::now(),
        };
        Ok(LayerRow { id, digest, record })
    }

    /// Makes a layer visible whose row somebody has just stored.
    pub(crate) fn publish(&self, row: LayerRow) {
        let mut layers = self.inner.layers.write().unwrap_or_else(PoisonError::into_inner);
        layers.entry(row.id).or_insert_with(|| Arc::new(row.record));
    }

    /// Removes a layer: the row first, so that no row is without a directory. Answers its bytes.
    pub(crate) async fn remove_layer(&self, id: LayerId) -> Result<u64> {
        let Some(record) = self.layer(id) else { return Ok(0) };
        self.inner.store.write(Durability::Crash, move |tx| layer::remove(tx, id)).await?;
        self.inner.layers.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        let gone = self.inner.root.join("staging").join(random_name());
        std::fs::rename(self.layer_dir(id), &gone).map_err(|e| Error::from(e).context(format!("remove layer {id}")))?;
        blocking("remove a layer", move || remove_tree(&gone)).await?;
        Ok(record.bytes)
    }

    /// How to mount a stack of layers to read it. Nothing holds the layers by that.
    pub(crate) fn stack(&self, layers: &[LayerId]) -> Result<Vec<Mount>> {
        let view = SnapshotView {
            key: "stack".parse()?,
            kind: SnapshotKind::View,
            layers: layers.to_vec(),
            created: jiff::Timestamp::now(),
        };
        Ok(self.mounts_of(&view))
    }

    /// Makes a layer of what was written into a snapshot: the directory is moved, not copied. The snapshot is gone then;
    /// the layer is neither synced nor recorded. `id` is the digest of the tar of just this directory.
    pub(crate) async fn seal(&self, key: &SnapshotKey, id: LayerId) -> Result<LayerRow> {
        let staging = Staging { path: self.inner.root.join("staging").join(random_name()), kept: false };
        make_private_dir(&staging.path)?;
        std::fs::rename(self.active_dir(key).join("fs"), staging.fs())
            .map_err(|e| Error::from(e).context(format!("make a layer of snapshot {key}")))?;
        self.remove(key).await?;
        let this = self.clone();
        blocking("place a layer", move || this.place(staging, id, id, Applied::default())).await
    }

    fn layer_dir(&self, id: LayerId) -> PathBuf {
        self.inner.root.join("layers").join(id.hex())
    }

    fn active_dir(&self, key: &SnapshotKey) -> PathBuf {
        self.inner.root.join("active").join(key.as_str())
    }

    /// Removes the row of a snapshot.
    async fn forget(&self, key: &SnapshotKey) -> Result<()> {
        let name = key.as_str().to_owned();
        self.inner.store.write(Durability::Crash, move |tx| snapshot::remove(tx, &name)).await
    }

    /// Removes the files of a writable layer; none are fine.
    async fn remove_active(&self, key: &SnapshotKey) -> Result<()> {
        let gone = self.inner.root.join("staging").join(random_name());
        match std::fs::rename(self.active_dir(key), &gone) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::from(error).context(format!("remove snapshot {key}"))),
            Ok(()) => blocking("remove a writable layer", move || remove_tree(&gone)).await,
        }
    }

    fn snapshot(&self, key: &SnapshotKey) -> Result<Arc<SnapshotView>> {
        let snapshots = self.inner.snapshots.read().unwrap_or_else(PoisonError::into_inner);
        snapshots.get(key).cloned().ok_or_else(|| Error::not_found(format!("no such snapshot: {key}")))
    }

    async fn create(&self, key: &SnapshotKey, layers: &[LayerId], kind: SnapshotKind) -> Result<Vec<Mount>> {
        if layers.len() > LAYERS_MAX {
            return Err(Error::invalid(format!(
                "snapshot {key} has {} layers; overlayfs takes {LAYERS_MAX}",
                layers.len()
            )));
        }
        let gate = self.inner.gate.read().await;
        for id in layers {
            if self.layer(*id).is_none() {
                return Err(Error::not_found(format!("snapshot {key}: layer {id} is not here")));
            }
        }
        let view = SnapshotView { key: key.clone(), kind, layers: layers.to_vec(), created: jiff::Timestamp::now() };
        let stored = view.clone();
        // The row first: it holds the layers against a sweep, and decides who has the key.
        if !self.inner.store.write(Durability::Crash, move |tx| snapshot::insert(tx, &stored)).await? {
            return Err(Error::new(ErrorKind::AlreadyExists, format!("snapshot {key} exists already")));
        }
        self.inner
            .snapshots
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key.clone(), Arc::new(view.clone()));
        let made = if kind == SnapshotKind::Active { self.make_active(key, layers).await } else { Ok(()) };
        drop(gate);
        if let Err(error) = made {
            self.remove(key).await?;
            return Err(error);
        }
        Ok(self.mounts_of(&view))
    }

    /// Upper and work directory. The upper root is what the merged root looks like, so it takes mode, owner and time of
    /// the topmost layer that describes one.
    async fn make_active(&self, key: &SnapshotKey, layers: &[LayerId]) -> Result<()> {
        let describing = layers.iter().rev().find(|id| self.layer(**id).is_some_and(|record| record.names_root));
        let model = describing.map(|id| self.layer_dir(*id).join("fs"));
        let dir = self.active_dir(key);
        let stack: Vec<_> =
            layers.iter().filter_map(|id| Some((self.layer_dir(*id).join("fs"), self.layer(*id)?))).collect();
        blocking("make a writable layer", move || {
            make_private_dir(&dir.join("fs"))?;
            std::fs::DirBuilder::new().mode(0o700).create(dir.join("work"))?;
            let upper = dir.join("fs");
            super::implied::restore(&stack, &upper)?;
            match model {
                Some(model) => copy_root(&model, &upper),
                None => Ok(std::fs::set_permissions(&upper, std::fs::Permissions::from_mode(0o755))?),
            }
        })
        .await
    }

    fn mounts_of(&self, view: &SnapshotView) -> Vec<Mount> {
        let lower = |id: &LayerId| self.layer_dir(*id).join("fs").display().to_string();
        let empty = || self.inner.root.join("empty").display().to_string();
        // Topmost first, as overlayfs wants them, and each once, which it insists on: what a layer says holds from its
        // topmost place on, whatever lies between.
        let mut seen = std::collections::HashSet::new();
        let mut lowers: Vec<String> = view.layers.iter().rev().filter(|id| seen.insert(**id)).map(lower).collect();
        if lowers.is_empty() {
            lowers.push(empty());
        }
        if view.kind == SnapshotKind::View {
            if let [only] = lowers.as_slice() {
                let options = vec!["rbind".to_owned(), "ro".to_owned()];
                return vec![Mount { kind: "bind".to_owned(), source: only.clone(), options }];
            }
            let options = vec![format!("lowerdir={}", lowers.join(":"))];
            return vec![Mount { kind: "overlay".to_owned(), source: "overlay".to_owned(), options }];
        }
        let dir = self.active_dir(&view.key);
        let options = vec![
            format!("lowerdir={}", lowers.join(":")),
            format!("upperdir={}", dir.join("fs").display()),
            format!("workdir={}", dir.join("work").display()),
        ];
        vec![Mount { kind: "overlay".to_owned(), source: "overlay".to_owned(), options }]
    }
}

#[async_trait]
impl Snapshotter for Overlay {
    async fn prepare(&self, key: &SnapshotKey, layers: &[LayerId]) -> Result<Vec<Mount>> {
        self.create(key, layers, SnapshotKind::Active).await
    }

    async fn view(&self, key: &SnapshotKey, layers: &[LayerId]) -> Result<Vec<Mount>> {
        self.create(key, layers, SnapshotKind::View).await
    }

    fn mounts(&self, key: &SnapshotKey) -> Result<Vec<Mount>> {
        Ok(self.mounts_of(&*self.snapshot(key)?))
    }

    fn upper_dir(&self, key: &SnapshotKey) -> Result<Option<PathBuf>> {
        let view = self.snapshot(key)?;
        Ok((view.kind == SnapshotKind::Active).then(|| self.active_dir(key).join("fs")))
    }

    async fn usage(&self, key: &SnapshotKey) -> Result<Usage> {
        let Some(upper) = self.upper_dir(key)? else { return Ok(Usage::default()) };
        blocking("count a writable layer", move || count::count(&upper, USAGE_LIMIT)).await
    }

    async fn remove(&self, key: &SnapshotKey) -> Result<()> {
        match self.forget(key).await {
            // Its files may be what fills the disk: then they go first. A row without files is removed by the next try.
            Err(error) if error.kind() == ErrorKind::ResourceExhausted => {
                self.remove_active(key).await?;
                self.forget(key).await?;
            }
            other => other?,
        }
        self.inner.snapshots.write().unwrap_or_else(PoisonError::into_inner).remove(key);
        self.remove_active(key).await
    }

    fn list(&self) -> Vec<SnapshotView> {
        let snapshots = self.inner.snapshots.read().unwrap_or_else(PoisonError::into_inner);
        snapshots.values().map(|view| (**view).clone()).collect()
    }
}

async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal(what).with_source(e))?
}

/// Removes a directory and all that is in it, at any depth, following nothing.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::internal(format!("{} is not a directory of ours", path.display())));
    };
    let parent = sys::rooted::RootFd::open(parent)?.open_dir(Path::new(""))?;
    parent.remove_all(name).map_err(|e| Error::from(e).context(format!("remove {}", path.display())))
}

/// Mode, owner, attributes and time of a layer's root, for the upper root that stands in front of it.
fn copy_root(from: &Path, to: &Path) -> Result<()> {
    let meta = std::fs::metadata(from)?;
    std::os::unix::fs::chown(to, Some(meta.uid()), Some(meta.gid()))?;
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(meta.mode() & 0o7777))?;
    let time = rustix::fs::Timespec { tv_sec: meta.mtime(), tv_nsec: meta.mtime_nsec() };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, to, &times, rustix::fs::AtFlags::empty()).map_err(std::io::Error::from)?;
    Ok(())
}

async fn known_layers(store: &Store, root: &Path) -> Result<HashMap<LayerId, Arc<LayerRecord>>> {
    let (known, lost): (Vec<_>, Vec<_>) =
        store.read(layer::all)?.into_iter().partition(|row| root.join("layers").join(row.id.hex()).join("fs").is_dir());
    if !lost.is_empty() {
        tracing::warn!(count = lost.len(), "recorded layers are missing on disk; forgetting them");
        store.write(Durability::Crash, move |tx| lost.iter().try_for_each(|row| layer::remove(tx, row.id))).await?;
    }
    Ok(known.into_iter().map(|row| (row.id, Arc::new(row.record))).collect())
}

async fn known_snapshots(store: &Store, root: &Path) -> Result<HashMap<SnapshotKey, Arc<SnapshotView>>> {
    let here = |view: &SnapshotView| {
        view.kind == SnapshotKind::View || root.join("active").join(view.key.as_str()).join("work").is_dir()
    };
    let (known, lost): (Vec<_>, Vec<_>) = store.read(snapshot::all)?.into_iter().partition(here);
    if !lost.is_empty() {
        tracing::warn!(count = lost.len(), "recorded snapshots are missing on disk; forgetting them");
        let forget = move |tx: &rusqlite::Transaction<'_>| {
            lost.iter().try_for_each(|view| snapshot::remove(tx, view.key.as_str()))
        };
        store.write(Durability::Crash, forget).await?;
    }
    Ok(known.into_iter().map(|view| (view.key.clone(), Arc::new(view))).collect())
}

fn clear_unknown(
    root: &Path,
    layers: &HashMap<LayerId, Arc<LayerRecord>>,
    snapshots: &HashMap<SnapshotKey, Arc<SnapshotView>>,
) -> Result<()> {
    let clear = |dir: &str, known: &dyn Fn(&str) -> bool| -> Result<()> {
        for entry in std::fs::read_dir(root.join(dir))? {
            let path = entry?.path();
            if !path.file_name().and_then(|name| name.to_str()).is_some_and(known) {
                remove_tree(&path)?;
            }
        }
        Ok(())
    };
    clear("staging", &|_| false)?;
    clear("layers", &|name| format!("sha256:{name}").parse().is_ok_and(|id: LayerId| layers.contains_key(&id)))?;
    clear("active", &|name| name.parse().is_ok_and(|key: SnapshotKey| snapshots.contains_key(&key)))
}
