//! From an image to a registry: what is there already is found out, what a neighbour has is linked, the rest is sent.
//!
//! Layers that were pulled go as they came, byte for byte, and so does the manifest: the digest stays the same. Layers
//! that were made here (or loaded without compression) are compressed once, always to the same bytes.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use sha2::Digest as _;
use tokio::sync::mpsc;

use crate::error::{Error, ErrorKind, Result};
use crate::id::{Digest, ImageId, Owner};
use crate::metadata::tables::image::{ImageNameRecord, ImageNameRow, ImageRecord, LayerRef};

use super::index::{Change, Images, not_found};
use super::manifest::{Descriptor, MANIFEST_BYTES_MAX, Manifest, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, parse, parts};
use super::reference::Reference;
use super::registry::{BlobFile, Endpoint, Mounted, RegistryAuth, Repository};
use super::view::ManifestRef;

/// Blobs that are sent at the same time.
const PARALLEL_MAX: usize = 5;
/// How often the bytes that have gone out are told.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// gzip's level for layers that are compressed here: a part of what makes their digest.
const GZIP_LEVEL: u32 = 6;

/// What to push, and for whom.
#[derive(Debug, Clone)]
pub struct PushRequest {
    /// The name to push; without a tag, all tags of the repository.
    pub reference: Reference,
    /// Credentials of the caller.
    pub auth: Option<RegistryAuth>,
    /// The door that asks.
    pub owner: Owner,
    /// Only this machine's manifest of an index, not the index.
    pub one_platform: bool,
}

/// One step of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushProgress {
    /// It begins: the repository as the user knows it.
    Repository(String),
    /// A layer went on.
    Layer {
        /// The layer, by its diff id.
        layer: Digest,
        /// What is being done.
        status: PushStatus,
        /// Bytes sent.
        current: u64,
        /// Bytes in all.
        total: u64,
    },
    /// Something that a person should know.
    Note(String),
    /// A tag is there.
    Tagged {
        /// The tag.
        tag: String,
        /// What it stands for.
        digest: Digest,
        /// Bytes of the manifest.
        size: u64,
    },
}

/// The steps of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushStatus {
    /// It has been looked at.
    Preparing,
    /// The registry has it.
    AlreadyExists,
    /// It is linked from this repository.
    MountedFrom(String),
    /// Bytes go out.
    Pushing,
    /// It is there.
    Pushed,
}

/// What one push knows.
struct Push<'a> {
    images: &'a Images,
    repository: Repository,
    endpoint: Endpoint,
    /// Other repositories of the same registry that may have our blobs.
    neighbours: Vec<Reference>,
    auth: Option<RegistryAuth>,
    one_platform: bool,
    progress: mpsc::Sender<PushProgress>,
}

impl Images {
    /// Pushes a tag, or all tags of a repository.
    ///
    /// # Errors
    /// `NotFound` when there is no such tag, or the registry has no such repository; `Unauthorized`; `Unavailable` with
    /// the registry's host.
    pub async fn push(&self, request: PushRequest, progress: mpsc::Sender<PushProgress>) -> Result<()> {
        let tags = self.tags_to_push(&request.reference)?;
        drop(progress.send(PushProgress::Repository(request.reference.repository())).await);
        let repository = Repository::open(self.registry(), &request.reference, request.auth.as_ref())?;
        let endpoint = repository.origin().await?;
        let neighbours = self.neighbours(&request.reference);
        let repository = repository.also_reading(&neighbours);
        let PushRequest { auth, one_platform, .. } = request;
        let push = Push { images: self, repository, endpoint, neighbours, auth, one_platform, progress };
        let manifests = || -> Vec<Option<Digest>> {
            let catalogue = self.catalogue();
            let manifest = |image: &ImageId| Some(catalogue.records.get(image)?.0.manifest.digest);
            tags.iter().map(|(_, image)| manifest(image)).collect()
        };
        let before = manifests();
        for (reference, image) in &tags {
            push.tag(reference, *image, request.owner).await.map_err(|error| match error.kind() {
                ErrorKind::Unauthorized => {
                    Error::new(ErrorKind::Unauthorized, "denied: requested access to the resource is denied")
                }
                _ => error,
            })?;
        }
        if manifests() != before {
            // Layers were compressed: the others are nobody's now.
            self.sweep().await?;
        }
        Ok(())
    }

    /// Asks a registry whether credentials are good. `registry` is its domain (`docker.io`, `localhost:5000`).
    ///
    /// # Errors
    /// `Unauthorized` when they are refused; `Unavailable` when nobody answers; `InvalidArgument` for the name.
    pub async fn check_credentials(&self, registry: &str, auth: &RegistryAuth) -> Result<()> {
        let reference: Reference = format!("{registry}/credentials:check").parse()?;
        Repository::open(self.registry(), &reference, Some(auth))?.check_credentials().await
    }

    fn tags_to_push(&self, reference: &Reference) -> Result<Vec<(Reference, ImageId)>> {
        let catalogue = self.catalogue();
        if reference.digest().is_some() {
            return Err(Error::invalid("cannot push a digest reference"));
        }
        let of_repository = |row: &&Arc<ImageNameRow>| {
            row.reference.digest().is_none()
                && row.reference.repository() == reference.repository()
                && reference.tag().is_none_or(|tag| row.reference.tag() == Some(tag))
        };
        let found: Vec<_> =
            catalogue.names.values().filter(of_repository).map(|row| (row.reference.clone(), row.image)).collect();
        if found.is_empty() {
            return Err(Error::not_found(match reference.tag() {
                Some(_) => format!("tag does not exist: {}", reference.familiar()),
                None => {
                    format!("An image does not exist locally with the tag: {}", reference.familiar_repository())
                }
            }));
        }
        Ok(found)
    }

    /// Repositories of the same registry that images here are known by.
    fn neighbours(&self, reference: &Reference) -> Vec<Reference> {
        let catalogue = self.catalogue();
        let mut seen = HashSet::new();
        let near = |row: &&Arc<ImageNameRow>| {
            row.reference.domain() == reference.domain()
                && row.reference.path() != reference.path()
                && row.reference.digest().is_some()
                && seen.insert(row.reference.path().to_owned())
        };
        catalogue.names.values().filter(near).map(|row| row.reference.clone()).collect()
    }

    /// The record of an image all of whose layers are compressed as registries want them.
    async fn compressed(&self, id: ImageId) -> Result<ImageRecord> {
        let record = {
            let catalogue = self.catalogue();
            let (record, _) = catalogue.records.get(&id).ok_or_else(|| not_found(&id.to_string()))?;
            (**record).clone()
        };
        let plain = |layer: &LayerRef| !layer.media_type.ends_with("gzip") && !layer.media_type.ends_with("zstd");
        if !record.layers.iter().any(plain) {
            return Ok(record);
        }
        let mut layers = Vec::with_capacity(record.layers.len());
        for layer in &record.layers {
            layers.push(if plain(layer) { self.compress(layer).await? } else { layer.clone() });
        }
        self.record_compressed(id, record, layers).await
    }

    /// Compresses a layer's blob, always to the same bytes, and stores that.
    async fn compress(&self, layer: &LayerRef) -> Result<LayerRef> {
        let scratch = self.content().scratch()?;
        let mut source = self.content().open_blob(layer.digest)?;
        let work = move || {
            let path = scratch.path().join("layer.gz");
            let sink = Counted { file: std::fs::File::create_new(&path)?, hash: sha2::Sha256::new(), size: 0 };
            let mut gzip = flate2::GzBuilder::new().mtime(0).write(sink, flate2::Compression::new(GZIP_LEVEL));
            std::io::copy(&mut source, &mut gzip)?;
            let done = gzip.finish()?;
            done.file.sync_all()?;
            Ok::<_, Error>((scratch, path, Digest::from_bytes(done.hash.finalize().into()), done.size))
        };
        let made = tokio::task::spawn_blocking(work).await;
        let (scratch, path, digest, size) = made.map_err(|e| Error::internal("compress a layer").with_source(e))??;
        let media_type = format!("{OCI_LAYER}+gzip");
        if self.content().info(digest).is_none() {
            std::fs::rename(&path, self.content().blob_path(digest))?;
            self.content().record(vec![self.content().row(digest, size, &media_type)]).await?;
        }
        drop(scratch);
        Ok(LayerRef { digest, size, media_type, diff_id: layer.diff_id })
    }

    /// The image keeps the compressed layers in place of the others, so that this is done once.
    async fn record_compressed(&self, id: ImageId, record: ImageRecord, layers: Vec<LayerRef>) -> Result<ImageRecord> {
        let descriptor = |layer: &LayerRef| {
            let media_type = super::compose::oci_layer_type(&layer.media_type);
            serde_json::json!({"mediaType": media_type, "digest": layer.digest, "size": layer.size})
        };
        let document = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": id, "size": record.config_size},
            "layers": layers.iter().map(descriptor).collect::<Vec<_>>(),
        });
        let bytes = serde_json::to_vec(&document).map_err(|e| Error::internal("write a manifest").with_source(e))?;
        let size = bytes.len() as u64;
        let _gate = self.overlay().gate().read().await;
        let digest = self.content().put(bytes, OCI_MANIFEST).await?;
        let manifest = ManifestRef { media_type: OCI_MANIFEST.to_owned(), digest, size };
        let lock = self.lock().await;
        let catalogue = self.catalogue();
        let (now, _) = catalogue.records.get(&id).ok_or_else(|| not_found(&id.to_string()))?;
        let changed = ImageRecord { manifest, layers, ..(**now).clone() };
        let change = Change { put_images: vec![(id, changed.clone())], ..Change::default() };
        self.apply(&lock, change).await?;
        Ok(changed)
    }

    /// Notes what the registry calls an image now.
    async fn record_pushed(&self, reference: &Reference, image: ImageId, digest: Digest, owner: Owner) -> Result<()> {
        let lock = self.lock().await;
        let row = |reference: Reference| ImageNameRow {
            reference,
            image,
            owner,
            record: ImageNameRecord { v: 1, target: Some(digest), named: jiff::Timestamp::now() },
        };
        let change = Change { put_names: vec![row(reference.at_digest(digest))], ..Change::default() };
        self.apply(&lock, change).await
    }
}

impl Push<'_> {
    async fn tell(&self, step: PushProgress) {
        drop(self.progress.send(step).await);
    }

    async fn tag(&self, reference: &Reference, image: ImageId, owner: Owner) -> Result<()> {
        let content = self.images.content();
        // What is on its way out is held, whatever becomes of the image meanwhile.
        let record = self.images.compressed(image).await?;
        let lease = {
            let _gate = self.images.overlay().gate().read().await;
            let mut blobs: Vec<Digest> = record.layers.iter().map(|layer| layer.digest).collect();
            blobs.extend([image, record.manifest.digest]);
            self.images.leases().create("push", blobs, Vec::new()).await?
        };
        let pushed = self.content(image, &record).await;
        let tag = reference.tag().unwrap_or("latest").to_owned();
        let result = match pushed {
            Ok(()) => {
                let index = if self.one_platform { None } else { self.index_of(reference, &record) };
                match index {
                    Some(index) if self.index_content(&index, &record).await? => {
                        let bytes = content.read(index.digest, MANIFEST_BYTES_MAX as u64)?;
                        self.put(&tag, &index.media_type, bytes).await
                    }
                    other => {
                        if other.is_some() {
                            let text = "the other platforms of the index are not here: only this machine's is pushed";
                            self.tell(PushProgress::Note(text.to_owned())).await;
                        }
                        let bytes = content.read(record.manifest.digest, MANIFEST_BYTES_MAX as u64)?;
                        self.put(&tag, &record.manifest.media_type, bytes).await
                    }
                }
            }
            Err(error) => Err(error),
        };
        lease.release().await?;
        let digest = result?;
        self.images.record_pushed(reference, image, digest, owner).await
    }

    async fn put(&self, tag: &str, media_type: &str, bytes: Vec<u8>) -> Result<Digest> {
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        self.repository.put_manifest(&self.endpoint, tag, media_type, bytes).await?;
        self.tell(PushProgress::Tagged { tag: tag.to_owned(), digest, size }).await;
        Ok(digest)
    }

    /// Configuration, layers, and the manifest by its digest.
    async fn content(&self, image: ImageId, record: &ImageRecord) -> Result<()> {
        let mut seen = HashSet::new();
        let layers: Vec<&LayerRef> = record.layers.iter().filter(|layer| seen.insert(layer.digest)).collect();
        for layer in &layers {
            self.layer(layer, PushStatus::Preparing, 0).await;
        }
        let owned: Vec<LayerRef> = layers.into_iter().cloned().collect();
        let mut sending = stream::iter(owned)
            .map(|layer| async move { self.send_layer(&layer).await })
            .buffer_unordered(PARALLEL_MAX);
        while let Some(sent) = sending.next().await {
            sent?;
        }
        drop(sending);
        self.blob(image, record.config_size, &Arc::default()).await
    }

    async fn layer(&self, layer: &LayerRef, status: PushStatus, current: u64) {
        self.tell(PushProgress::Layer { layer: layer.diff_id, status, current, total: layer.size }).await;
    }

    async fn send_layer(&self, layer: &LayerRef) -> Result<()> {
        if self.repository.has_blob(&self.endpoint, layer.digest).await? {
            self.layer(layer, PushStatus::AlreadyExists, 0).await;
            return Ok(());
        }
        if let Some(from) = self.mount(layer.digest).await? {
            self.layer(layer, PushStatus::MountedFrom(from), 0).await;
            return Ok(());
        }
        self.layer(layer, PushStatus::Pushing, 0).await;
        let sent = Arc::new(AtomicU64::new(0));
        let mut upload = std::pin::pin!(self.blob(layer.digest, layer.size, &sent));
        let mut ticks = tokio::time::interval(TELL_EVERY);
        loop {
            tokio::select! {
                done = &mut upload => {
                    done?;
                    break;
                }
                _ = ticks.tick() => self.layer(layer, PushStatus::Pushing, sent.load(Ordering::Relaxed)).await,
            }
        }
        self.layer(layer, PushStatus::Pushed, layer.size).await;
        Ok(())
    }

    /// Links a blob from a neighbour that has it; answers which.
    async fn mount(&self, digest: Digest) -> Result<Option<String>> {
        for neighbour in &self.neighbours {
            if self.repository.mount_blob(&self.endpoint, digest, neighbour.path()).await? == Mounted::Yes {
                return Ok(Some(neighbour.path().to_owned()));
            }
        }
        Ok(None)
    }

    /// A blob of ours, if it is not there yet.
    async fn blob(&self, digest: Digest, size: u64, sent: &Arc<AtomicU64>) -> Result<()> {
        if self.repository.has_blob(&self.endpoint, digest).await? {
            return Ok(());
        }
        let content = self.images.content();
        if content.info(digest).is_none() {
            return Err(Error::not_found(format!("push: blob {digest} is not here; pull the image again")));
        }
        let file = BlobFile { digest, path: content.blob_path(digest), size };
        self.repository.upload_blob(&self.endpoint, &file, sent).await
    }

    /// The index that a name stands for, if it stands for more than one manifest.
    fn index_of(&self, reference: &Reference, record: &ImageRecord) -> Option<ManifestRef> {
        let catalogue = self.images.catalogue();
        let target = catalogue.names.get(reference)?.record.target?;
        if target == record.manifest.digest {
            return None;
        }
        let info = self.images.content().info(target)?;
        let bytes = self.images.content().read(target, MANIFEST_BYTES_MAX as u64).ok()?;
        let parsed = parse(&bytes, &info.media_type, self.images.settings().layers_max).ok()?;
        let Manifest::Index(entries) = parsed else { return None };
        let ours = entries.iter().any(|entry| entry.digest == record.manifest.digest);
        ours.then_some(ManifestRef { media_type: info.media_type, digest: target, size: info.size })
    }

    /// Brings all manifests of an index and what they are made of. False when something is not to be had.
    async fn index_content(&self, index: &ManifestRef, record: &ImageRecord) -> Result<bool> {
        let bytes = self.images.content().read(index.digest, MANIFEST_BYTES_MAX as u64)?;
        let layers_max = self.images.settings().layers_max;
        let Manifest::Index(entries) = parse(&bytes, &index.media_type, layers_max)? else { return Ok(false) };
        for entry in &entries {
            if self.repository.has_manifest(&self.endpoint, entry.digest).await? {
                continue;
            }
            let own = entry.digest == record.manifest.digest;
            let Some((media_type, bytes)) = self.document(entry).await else { return Ok(false) };
            for blob in if own { Vec::new() } else { parts(&bytes)? } {
                if !self.bring(&blob).await? {
                    return Ok(false);
                }
            }
            self.repository.put_manifest(&self.endpoint, &entry.digest.to_string(), &media_type, bytes).await?;
        }
        Ok(true)
    }

    /// A manifest of an index: ours, else a neighbour's.
    async fn document(&self, entry: &Descriptor) -> Option<(String, Vec<u8>)> {
        if let Some(info) = self.images.content().info(entry.digest) {
            let bytes = self.images.content().read(entry.digest, MANIFEST_BYTES_MAX as u64).ok()?;
            return Some((info.media_type, bytes));
        }
        for neighbour in &self.neighbours {
            let opened = Repository::open(self.images.registry(), neighbour, self.auth.as_ref()).ok()?;
            if let Ok(fetched) = opened.manifest(&entry.digest.to_string()).await {
                return Some((fetched.content_type, fetched.bytes));
            }
        }
        None
    }

    /// A blob of another platform: there already, linked, or ours by chance.
    async fn bring(&self, blob: &Descriptor) -> Result<bool> {
        if self.repository.has_blob(&self.endpoint, blob.digest).await? || self.mount(blob.digest).await?.is_some() {
            return Ok(true);
        }
        if self.images.content().info(blob.digest).is_none() {
            return Ok(false);
        }
        self.blob(blob.digest, blob.size, &Arc::default()).await?;
        Ok(true)
    }
}

/// Hashes what goes into a file.
struct Counted {
    file: std::fs::File,
    hash: sha2::Sha256,
    size: u64,
}

impl std::io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}
