//! [`Images`]: the set of images in memory, and the way in for everything that changes it.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::build::BuildCache;
use crate::content::ContentStore;
use crate::error::{Error, Result};
use crate::id::{Digest, ImageId, Owner};
use crate::lease::Leases;
use crate::metadata::tables::image::{self, ImageNameRecord, ImageNameRow, ImageRecord, LayerRef};
use crate::metadata::{Durability, Store};
use crate::snapshot::{Overlay, Snapshotter};

use super::config::{CONFIG_BYTES_MAX, ImageDocument};
use super::flight::Flights;
use super::progress::PullStatus;
use super::reference::Reference;
use super::registry::Registry;
use super::settings::ImageSettings;
use super::view::{FsUsage, ImageView, LayersCapacity, ManifestRef};

/// All images of this engine; cheap to clone.
#[derive(Clone, Debug)]
pub struct Images {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    settings: Arc<ImageSettings>,
    content: ContentStore,
    overlay: Overlay,
    leases: Leases,
    flights: Flights,
    build_cache: BuildCache,
    registry: Arc<Registry>,
    catalogue: RwLock<Arc<Catalogue>>,
    /// Held by whoever changes names or images.
    writing: tokio::sync::Mutex<()>,
    pulls: Mutex<BTreeMap<u64, PullStatus>>,
    pull_number: AtomicU64,
}

/// Images that may have been closed.
#[derive(Debug)]
pub(crate) struct WeakImages {
    inner: std::sync::Weak<Inner>,
}

impl WeakImages {
    pub(crate) fn upgrade(&self) -> Option<Images> {
        self.inner.upgrade().map(|inner| Images { inner })
    }
}

/// Everything known of images at one moment; replaced as a whole.
#[derive(Debug, Default, Clone)]
pub(super) struct Catalogue {
    pub(super) records: HashMap<ImageId, (Arc<ImageRecord>, Arc<ImageDocument>)>,
    pub(super) names: BTreeMap<Reference, Arc<ImageNameRow>>,
    pub(super) views: HashMap<ImageId, Arc<ImageView>>,
}

/// An image whose blobs and layers are here and whose record is to be made.
#[derive(Debug)]
pub(super) struct NewImage {
    pub(super) id: ImageId,
    pub(super) manifest: ManifestRef,
    pub(super) config_size: u64,
    pub(super) layers: Vec<LayerRef>,
    pub(super) names: Vec<(Reference, Option<Digest>)>,
    pub(super) owner: Owner,
    /// Whether the caller's credentials were needed to get it.
    pub(super) with_auth: bool,
    pub(super) pinned: bool,
}

/// Rows to store, and the catalogue that holds when they are.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) put_images: Vec<(ImageId, ImageRecord)>,
    pub(super) put_names: Vec<ImageNameRow>,
    pub(super) remove_images: Vec<ImageId>,
    pub(super) remove_names: Vec<Reference>,
}

impl Images {
    /// Reads what is stored, removes what was left half-made, and is ready.
    ///
    /// # Errors
    /// `Internal` when a root cannot be made or the database cannot be read; `InvalidArgument` for a root that cannot be
    /// used.
    pub async fn open(store: Store, settings: ImageSettings) -> Result<Self> {
        let settings = Arc::new(settings);
        let content = ContentStore::open(store.clone(), &settings.content_root).await?;
        let overlay = Overlay::open(store.clone(), &settings.snapshots_root).await?;
        let leases = Leases::open(store.clone(), settings.lease_keep).await?;
        let flights = Flights::new(store.clone(), Arc::clone(&settings), content.clone(), overlay.clone())?;
        let build_cache = BuildCache::open(store.clone())?;
        let registry = Arc::new(Registry::new(Arc::clone(&settings)));
        let catalogue = load_catalogue(&store, &content, &overlay)?;
        let inner = Inner {
            store,
            settings,
            content,
            overlay,
            leases,
            flights,
            build_cache,
            registry,
            catalogue: RwLock::new(Arc::new(catalogue)),
            writing: tokio::sync::Mutex::new(()),
            pulls: Mutex::default(),
            pull_number: AtomicU64::new(0),
        };
        let this = Self { inner: Arc::new(inner) };
        this.write_layout_index()?;
        this.sweep_in_background();
        Ok(this)
    }

    pub(crate) fn downgrade(&self) -> WeakImages {
        WeakImages { inner: Arc::downgrade(&self.inner) }
    }

    /// The snapshotter that holds the layers; containers prepare their writable layer there.
    pub fn snapshotter(&self) -> Arc<dyn Snapshotter> {
        Arc::new(self.inner.overlay.clone())
    }

    /// The blobs behind the images.
    pub fn content(&self) -> &ContentStore {
        &self.inner.content
    }

    /// All images, newest first. From memory.
    pub fn list(&self) -> Vec<Arc<ImageView>> {
        let mut all: Vec<_> = self.catalogue().views.values().cloned().collect();
        all.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        all
    }

    /// By reference, id (with or without `sha256:`), unique prefix of an id, or digest reference. From memory.
    ///
    /// # Errors
    /// `NotFound` `No such image: X`; `InvalidArgument` when a prefix stands for several.
    pub fn get(&self, name_or_id: &str) -> Result<Arc<ImageView>> {
        let catalogue = self.catalogue();
        let (id, _) = catalogue.find(name_or_id)?;
        catalogue.views.get(&id).cloned().ok_or_else(|| not_found(name_or_id))
    }

    /// The pulls under way now.
    pub fn pulls_in_progress(&self) -> Vec<PullStatus> {
        self.inner.pulls.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Disk use of layers and blobs, from the records.
    pub fn fs_usage(&self) -> FsUsage {
        let blobs = self.inner.content.list();
        let layers = self.inner.overlay.layers();
        FsUsage {
            snapshots_root: self.inner.settings.snapshots_root.clone(),
            content_root: self.inner.settings.content_root.clone(),
            bytes: blobs.iter().map(|(_, b)| b.size).sum::<u64>() + layers.iter().map(|(_, l)| l.bytes).sum::<u64>(),
            inodes: blobs.len() as u64 + layers.iter().map(|(_, l)| l.inodes).sum::<u64>(),
            at: jiff::Timestamp::now(),
        }
    }

    /// For each image, the bytes of its layers that other images have too.
    pub fn shared_bytes(&self) -> HashMap<ImageId, u64> {
        let views = self.list();
        let unique = |view: &ImageView| view.layers.iter().copied().collect::<std::collections::BTreeSet<_>>();
        let mut owners: HashMap<Digest, usize> = HashMap::new();
        for layer in views.iter().flat_map(|view| unique(view)) {
            *owners.entry(layer).or_default() += 1;
        }
        let is_shared = |layer: &Digest| owners.get(layer).is_some_and(|owners| *owners > 1);
        let bytes = |layer: Digest| self.inner.overlay.layer(layer).map_or(0, |layer| layer.bytes);
        views.iter().map(|view| (view.id, unique(view).into_iter().filter(is_shared).map(bytes).sum())).collect()
    }

    /// The directory that holds layers, writable ones too: what CRI names their file system by.
    pub fn layers_root(&self) -> String {
        self.inner.settings.snapshots_root.display().to_string()
    }

    /// How much the file system of the layers takes; `None` when it cannot be asked.
    pub fn layers_capacity(&self) -> Option<LayersCapacity> {
        let root = &self.inner.settings.snapshots_root;
        let space = rustix::fs::statvfs(root).ok()?;
        let number = std::os::unix::fs::MetadataExt::dev(&std::fs::metadata(root).ok()?);
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        let told = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/uevent")).unwrap_or_default();
        let name = told.lines().find_map(|line| line.strip_prefix("DEVNAME="));
        Some(LayersCapacity {
            device: name.map_or_else(|| format!("{major}:{minor}"), |name| format!("/dev/{name}")),
            bytes: space.f_blocks.saturating_mul(space.f_frsize),
            inodes: space.f_files,
            inodes_free: space.f_ffree,
        })
    }

    /// The directory of one layer, for who reads files of an image without a container.
    ///
    /// # Errors
    /// `NotFound` when the layer is not here.
    pub fn layer_dir(&self, layer: Digest) -> Result<PathBuf> {
        self.inner.overlay.layer(layer).ok_or_else(|| Error::not_found(format!("layer {layer} is not here")))?;
        Ok(self.inner.settings.snapshots_root.join("layers").join(layer.hex()).join("fs"))
    }

    pub(super) fn catalogue(&self) -> Arc<Catalogue> {
        Arc::clone(&self.inner.catalogue.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn settings(&self) -> &ImageSettings {
        &self.inner.settings
    }

    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }

    pub(crate) fn overlay(&self) -> &Overlay {
        &self.inner.overlay
    }

    pub(crate) fn leases(&self) -> &Leases {
        &self.inner.leases
    }

    pub(super) fn registry(&self) -> &Arc<Registry> {
        &self.inner.registry
    }

    pub(crate) fn build_cache(&self) -> &BuildCache {
        &self.inner.build_cache
    }

    pub(crate) fn flights(&self) -> &Flights {
        &self.inner.flights
    }

    /// Whoever changes names or images holds this from reading the catalogue to [`Images::apply`].
    pub(crate) async fn lock(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.inner.writing.lock().await
    }

    /// Stores a change, then shows it.
    pub(super) async fn apply(&self, _lock: &tokio::sync::MutexGuard<'_, ()>, change: Change) -> Result<()> {
        let mut catalogue = (*self.catalogue()).clone();
        for id in &change.remove_images {
            catalogue.records.remove(id);
        }
        for (id, record) in &change.put_images {
            let document = match catalogue.records.get(id) {
                Some((_, document)) => Arc::clone(document),
                None => Arc::new(ImageDocument::parse(*id, &self.inner.content.read(*id, CONFIG_BYTES_MAX)?)?),
            };
            catalogue.records.insert(*id, (Arc::new(record.clone()), document));
        }
        for name in &change.remove_names {
            catalogue.names.remove(name);
        }
        for row in &change.put_names {
            catalogue.names.insert(row.reference.clone(), Arc::new(row.clone()));
        }
        catalogue.rebuild(&self.inner.content, &self.inner.overlay);
        let store = move |tx: &rusqlite::Transaction<'_>| {
            change.remove_names.iter().try_for_each(|name| image::remove_name(tx, name))?;
            change.remove_images.iter().try_for_each(|id| image::remove(tx, *id))?;
            change.put_images.iter().try_for_each(|(id, record)| image::put(tx, *id, record))?;
            change.put_names.iter().try_for_each(|row| image::put_name(tx, row))
        };
        self.inner.store.write(Durability::Power, store).await?;
        *self.inner.catalogue.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalogue);
        self.write_layout_index()
    }

    /// Records an image whose content is here. Answers it, and whether one of its names stood for something else before.
    pub(super) async fn record(&self, new: NewImage) -> Result<(Arc<ImageView>, bool)> {
        let lock = self.lock().await;
        let catalogue = self.catalogue();
        let now = jiff::Timestamp::now();
        let mut record = match catalogue.records.get(&new.id) {
            Some((known, _)) => (**known).clone(),
            None => ImageRecord {
                v: 1,
                manifest: new.manifest.clone(),
                config_size: new.config_size,
                layers: new.layers.clone(),
                owners: Vec::new(),
                pinned: false,
                pulled_with_auth: if new.with_auth { vec![new.owner] } else { Vec::new() },
                added: now,
            },
        };
        if !new.with_auth {
            // Somebody got it without a secret: it is none.
            record.pulled_with_auth.clear();
        } else if !record.pulled_with_auth.is_empty() && !record.pulled_with_auth.contains(&new.owner) {
            record.pulled_with_auth.push(new.owner);
        }
        record.manifest = new.manifest;
        record.layers = new.layers;
        record.pinned |= new.pinned;
        if !record.owners.contains(&new.owner) {
            record.owners.push(new.owner);
        }
        let newer = new.names.iter().any(|(name, _)| catalogue.names.get(name).is_none_or(|row| row.image != new.id));
        let put_names = new
            .names
            .into_iter()
            .map(|(reference, target)| ImageNameRow {
                reference,
                image: new.id,
                owner: new.owner,
                record: ImageNameRecord { v: 1, target, named: now },
            })
            .collect();
        let change = Change { put_images: vec![(new.id, record)], put_names, ..Change::default() };
        self.apply(&lock, change).await?;
        let view = self.catalogue().views.get(&new.id).cloned();
        Ok((view.ok_or_else(|| Error::internal("an image that was just recorded is gone"))?, newer))
    }

    /// What each image needs: blobs, and layers.
    pub(crate) fn references(&self) -> Vec<(ImageId, Vec<Digest>, Vec<Digest>)> {
        let catalogue = self.catalogue();
        let mut all = Vec::new();
        for (id, (record, document)) in &catalogue.records {
            let mut blobs: Vec<Digest> = record.layers.iter().map(|layer| layer.digest).collect();
            blobs.extend([*id, record.manifest.digest]);
            blobs.extend(catalogue.names.values().filter(|row| row.image == *id).filter_map(|row| row.record.target));
            all.push((*id, blobs, document.rootfs.diff_ids.clone()));
        }
        all
    }

    pub(super) fn list_pull(&self, status: PullStatus) -> u64 {
        let number = self.inner.pull_number.fetch_add(1, Ordering::Relaxed);
        self.inner.pulls.lock().unwrap_or_else(PoisonError::into_inner).insert(number, status);
        number
    }

    pub(super) fn update_pull(&self, number: u64, change: impl FnOnce(&mut PullStatus)) {
        if let Some(status) = self.inner.pulls.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&number) {
            change(status);
        }
    }

    pub(super) fn unlist_pull(&self, number: u64) {
        self.inner.pulls.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }
}

pub(super) fn not_found(name: &str) -> Error {
    Error::not_found(format!("No such image: {name}"))
}

impl Catalogue {
    /// The image that `text` stands for, and the name that it was found by, if it was a name.
    pub(super) fn find(&self, text: &str) -> Result<(ImageId, Option<Reference>)> {
        let whole = if text.starts_with("sha256:") { text.to_owned() } else { format!("sha256:{text}") };
        if let Ok(id) = whole.parse::<Digest>() {
            return self.records.get(&id).map(|_| (id, None)).ok_or_else(|| not_found(text));
        }
        if let Ok(reference) = text.parse::<Reference>()
            && let Some(found) = self.find_name(reference.or_latest())
        {
            return Ok(found);
        }
        self.find_prefix(text).map(|id| (id, None))
    }

    fn find_name(&self, reference: Reference) -> Option<(ImageId, Option<Reference>)> {
        let key = match reference.digest() {
            // With tag and digest the digest decides.
            Some(digest) => reference.at_digest(digest),
            None => reference,
        };
        if let Some(row) = self.names.get(&key) {
            return Some((row.image, Some(key)));
        }
        // `repository@<image id>` is understood where the repository names that image.
        let id = key.digest()?;
        let known = self.names.values().any(|row| row.image == id && row.reference.repository() == key.repository());
        known.then_some((id, None))
    }

    fn find_prefix(&self, text: &str) -> Result<ImageId> {
        let prefix = text.strip_prefix("sha256:").unwrap_or(text);
        if prefix.is_empty() || !prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(not_found(text));
        }
        let mut found = self.records.keys().filter(|id| id.hex().starts_with(prefix));
        match (found.next(), found.next()) {
            (Some(id), None) => Ok(*id),
            (Some(_), Some(_)) => Err(Error::invalid(format!("multiple IDs found with provided prefix: {text}"))),
            (None, _) => Err(not_found(text)),
        }
    }

    fn rebuild(&mut self, content: &ContentStore, overlay: &Overlay) {
        let mut tags: HashMap<ImageId, (Vec<Reference>, Vec<Reference>)> = HashMap::new();
        for row in self.names.values() {
            let (names, digests) = tags.entry(row.image).or_default();
            let list = if row.reference.digest().is_some() { digests } else { names };
            list.push(row.reference.clone());
        }
        self.views = self
            .records
            .iter()
            .map(|(id, (record, document))| {
                let (names, digests) = tags.remove(id).unwrap_or_default();
                (*id, Arc::new(view(*id, record, document, names, digests, content, overlay)))
            })
            .collect();
    }
}

fn view(
    id: ImageId,
    record: &ImageRecord,
    document: &ImageDocument,
    names: Vec<Reference>,
    digests: Vec<Reference>,
    content: &ContentStore,
    overlay: &Overlay,
) -> ImageView {
    let layers = &document.rootfs.diff_ids;
    let unique: std::collections::HashSet<_> = layers.iter().collect();
    let blobs: std::collections::HashSet<_> = record.layers.iter().map(|layer| layer.digest).collect();
    let blob_bytes: u64 = blobs.into_iter().filter_map(|digest| content.info(digest)).map(|info| info.size).sum();
    ImageView {
        id,
        names,
        digests,
        config: document.config.clone(),
        history: document.history.clone(),
        layers: layers.clone(),
        size: unique.into_iter().filter_map(|layer| overlay.layer(*layer)).map(|layer| layer.bytes).sum(),
        content_size: record.manifest.size + record.config_size + blob_bytes,
        created: document.created_at(),
        added: record.added,
        architecture: document.architecture.clone(),
        os: document.os.clone(),
        variant: document.variant.clone(),
        author: document.author.clone(),
        comment: document.comment.clone(),
        pinned: record.pinned,
        owners: record.owners.clone(),
        manifest: record.manifest.clone(),
        pulled_with_auth: record.pulled_with_auth.clone(),
    }
}

/// Images whose configuration cannot be read any more are left out, and said so: the rest must still work.
fn load_catalogue(store: &Store, content: &ContentStore, overlay: &Overlay) -> Result<Catalogue> {
    let mut catalogue = Catalogue::default();
    for (id, record) in store.read(image::all)? {
        match content.read(id, CONFIG_BYTES_MAX).and_then(|bytes| ImageDocument::parse(id, &bytes)) {
            Ok(document) => {
                catalogue.records.insert(id, (Arc::new(record), Arc::new(document)));
            }
            Err(error) => tracing::error!(image = %id, %error, "an image's configuration cannot be read"),
        }
    }
    for row in store.read(image::all_names)? {
        if catalogue.records.contains_key(&row.image) {
            catalogue.names.insert(row.reference.clone(), Arc::new(row));
        }
    }
    catalogue.rebuild(content, overlay);
    Ok(catalogue)
}
