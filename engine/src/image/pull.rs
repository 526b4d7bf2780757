//! From a reference to an image: manifest, configuration, layers, record.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc;

use crate::error::{Error, ErrorKind, Result};
use crate::id::{Digest, Owner};
use crate::metadata::tables::image::LayerRef;

use super::config::ImageDocument;
use super::flight::{FlightState, WantedLayer};
use super::index::{Images, NewImage};
use super::manifest::{CONFIG_BYTES_MAX, INDEX_DEPTH_MAX, ImageManifest, Manifest, OCI_CONFIG, candidates, parse};
use super::platform::Platform;
use super::progress::{LayerProgress, LayerStatus, PullProgress, PullStatus};
use super::reference::Reference;
use super::registry::{FetchedManifest, RegistryAuth, Repository};
use super::view::{ImageView, ManifestRef};

/// How long a failed pull waits for the downloads that it has left.
const LEFT_FLIGHTS_MAX: std::time::Duration = std::time::Duration::from_secs(3);
/// How often it looks.
const LEFT_FLIGHTS_LOOK: std::time::Duration = std::time::Duration::from_millis(10);

/// What to pull, and for whom.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// A reference with tag or digest (see [`Reference::or_latest`]).
    pub reference: Reference,
    /// Another platform than this machine's.
    pub platform: Option<Platform>,
    /// Credentials of the caller.
    pub auth: Option<RegistryAuth>,
    /// The door that asks.
    pub owner: Owner,
}

/// A manifest that was chosen, with all documents that led to it.
struct Resolved {
    /// What the reference itself stands for: digest of an index, or of the manifest.
    target: Digest,
    manifest: ImageManifest,
    manifest_digest: Digest,
    /// The documents, to be stored.
    documents: Vec<FetchedManifest>,
}

/// Keeps a pull in the list of those under way.
struct Listed {
    images: Images,
    number: u64,
}

impl Listed {
    fn begin(images: &Images, request: &PullRequest) -> Self {
        let status = PullStatus {
            reference: request.reference.to_string(),
            owner: request.owner,
            started: jiff::Timestamp::now(),
            layers: Vec::new(),
        };
        Self { number: images.list_pull(status), images: images.clone() }
    }

    fn update(&self, change: impl FnOnce(&mut PullStatus)) {
        self.images.update_pull(self.number, change);
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.images.unlist_pull(self.number);
    }
}

impl Images {
    /// Pulls an image. Dropping the future gives the pull up: layers that nobody else waits for stop, what has arrived
    /// of them is kept for the next attempt. A receiver of `progress` that is gone stops nothing.
    ///
    /// # Errors
    /// `NotFound` (`manifest for X not found: manifest unknown`), `Unauthorized` (`pull access denied for X, …`),
    /// `Unavailable` with the registry's host, `InvalidArgument` for content that is not what its digest says or that
    /// is no image, `ResourceExhausted` when the disk is full.
    pub async fn pull(&self, request: PullRequest, progress: mpsc::Sender<PullProgress>) -> Result<Arc<ImageView>> {
        let request = PullRequest { reference: request.reference.or_latest(), ..request };
        let listed = Listed::begin(self, &request);
        let repository = Arc::new(Repository::open(self.registry(), &request.reference, request.auth.as_ref())?);
        let resolved = self.resolve(&repository, &request).await?;
        let pulling = PullProgress::Pulling {
            repository: request.reference.familiar_repository().replace("docker.io/", ""),
            tag: request.reference.target(),
        };
        tell(&progress, pulling).await;
        let (document, wanted) = self.configuration(&repository, &resolved).await?;
        let replaces = self.replaces_manifest(&resolved);
        let lease = self.hold(&resolved, &wanted).await?;
        let fetched = self.fetch(&repository, &wanted, &listed, &progress).await;
        let recorded = match fetched {
            Ok(()) => self.record_pulled(&request, &repository, resolved, document, &wanted).await,
            Err(error) => Err(error),
        };
        match recorded {
            Ok((view, newer)) => {
                lease.finish().await?;
                if replaces {
                    // What the image consisted of before is nobody's now.
                    self.sweep().await?;
                }
                tell(&progress, PullProgress::Digest(view.1)).await;
                tell(&progress, PullProgress::Finished { reference: request.reference.familiar(), newer }).await;
                Ok(view.0)
            }
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Cancelled) => {
                // Layers that are whole wait for the next attempt.
                lease.keep_for(self.settings().lease_keep).await?;
                Err(error)
            }
            Err(error) => {
                lease.release().await?;
                self.left_flights_end(&wanted).await;
                let busy = self.flights().busy();
                for layer in wanted.iter().filter(|layer| !busy.contains(&layer.digest)) {
                    self.content().abandon(layer.digest).await?;
                }
                self.sweep().await?;
                Err(error)
            }
        }
    }

    /// Follows indexes down to the manifest for the wanted platform.
    async fn resolve(&self, repository: &Repository, request: &PullRequest) -> Result<Resolved> {
        let wanted = request.platform.clone().unwrap_or_else(Platform::host);
        let mut fetched = repository.manifest(&request.reference.target()).await?;
        let target = fetched.digest;
        let mut documents = Vec::new();
        for _ in 0..=INDEX_DEPTH_MAX {
            let parsed = parse(&fetched.bytes, &fetched.content_type, self.settings().layers_max)
                .map_err(|e| e.context(&request.reference))?;
            let manifest_digest = fetched.digest;
            documents.push(fetched);
            match parsed {
                Manifest::Image(manifest) => return Ok(Resolved { target, manifest, manifest_digest, documents }),
                Manifest::Index(entries) => {
                    let Some(best) = candidates(&entries, &wanted).into_iter().next() else {
                        let text = format!("no matching manifest for {wanted} in the manifest list entries");
                        return Err(Error::not_found(text).context(&request.reference));
                    };
                    fetched = repository.manifest(&best.digest.to_string()).await?;
                }
            }
        }
        Err(Error::invalid(format!("{}: indexes are nested more than {INDEX_DEPTH_MAX} deep", request.reference)))
    }

    /// Fetches the configuration and joins its diff ids with the manifest's layers.
    async fn configuration(&self, repository: &Repository, resolved: &Resolved) -> Result<(Vec<u8>, Vec<WantedLayer>)> {
        let descriptor = &resolved.manifest.config;
        let bytes = match self.content().info(descriptor.digest) {
            Some(_) => self.content().read(descriptor.digest, CONFIG_BYTES_MAX)?,
            None => small_blob(repository, descriptor.digest, descriptor.size).await?,
        };
        let wanted = wanted_layers(&bytes, &resolved.manifest)?;
        Ok((bytes, wanted))
    }

    /// Whether the image is here already, made of other blobs (loaded, or compressed otherwise).
    fn replaces_manifest(&self, resolved: &Resolved) -> bool {
        let catalogue = self.catalogue();
        let known = catalogue.records.get(&resolved.manifest.config.digest);
        known.is_some_and(|(record, _)| record.manifest.digest != resolved.manifest_digest)
    }

    async fn hold(&self, resolved: &Resolved, wanted: &[WantedLayer]) -> Result<crate::lease::Lease> {
        let mut blobs: Vec<Digest> = resolved.documents.iter().map(|d| d.digest).collect();
        blobs.push(resolved.manifest.config.digest);
        blobs.extend(wanted.iter().map(|layer| layer.digest));
        let layers = wanted.iter().map(|layer| layer.diff_id).collect();
        // Not while a sweep is going on: it has looked at the leases already.
        let _gate = self.overlay().gate().read().await;
        self.leases().create("pull", blobs, layers).await
    }

    /// Brings all layers, a few at a time, and tells of each.
    async fn fetch(
        &self,
        repository: &Arc<Repository>,
        wanted: &[WantedLayer],
        listed: &Listed,
        progress: &mpsc::Sender<PullProgress>,
    ) -> Result<()> {
        let mut seen = HashSet::new();
        let unique: Vec<&WantedLayer> = wanted.iter().filter(|layer| seen.insert(layer.digest)).collect();
        let first = |layer: &&WantedLayer| LayerProgress {
            digest: layer.digest,
            status: if self.flights().landed(layer) { LayerStatus::AlreadyExists } else { LayerStatus::PullingFsLayer },
            current: 0,
            total: layer.size,
        };
        let layers: Vec<LayerProgress> = unique.iter().map(first).collect();
        listed.update(|status| status.layers.clone_from(&layers));
        for layer in &layers {
            tell(progress, PullProgress::Layer(layer.clone())).await;
        }
        let mut waiting = unique.into_iter().zip(&layers).filter(|(_, l)| l.status != LayerStatus::AlreadyExists);
        let ride = |layer: &WantedLayer| {
            let layer = layer.clone();
            async move { self.ride(repository, &layer, listed, progress).await }
        };
        let mut riding = FuturesUnordered::new();
        for (layer, _) in waiting.by_ref().take(self.settings().layers_parallel_max.max(1)) {
            riding.push(ride(layer));
        }
        while let Some(arrived) = riding.next().await {
            arrived?;
            if let Some((layer, _)) = waiting.next() {
                riding.push(ride(layer));
            }
        }
        Ok(())
    }

    /// Waits until the downloads that a failed pull has left are over, so that a sweep finds what they brought. One that
    /// another pull rides on goes on: it is waited for no longer than [`LEFT_FLIGHTS_MAX`].
    async fn left_flights_end(&self, wanted: &[WantedLayer]) {
        let until = tokio::time::Instant::now() + LEFT_FLIGHTS_MAX;
        while tokio::time::Instant::now() < until {
            let busy = self.flights().busy();
            if !wanted.iter().any(|layer| busy.contains(&layer.digest)) {
                return;
            }
            tokio::time::sleep(LEFT_FLIGHTS_LOOK).await;
        }
    }

    async fn ride(
        &self,
        repository: &Arc<Repository>,
        layer: &WantedLayer,
        listed: &Listed,
        progress: &mpsc::Sender<PullProgress>,
    ) -> Result<()> {
        let mut rider = self.flights().board(layer, repository).await;
        let mut told = LayerStatus::PullingFsLayer;
        loop {
            let FlightState { progress: now, outcome } = rider.state.borrow_and_update().clone();
            listed.update(|status| {
                if let Some(known) = status.layers.iter_mut().find(|known| known.digest == now.digest) {
                    *known = now.clone();
                }
            });
            if !matches!(outcome, Some(Err(_))) {
                tell_layer(progress, &mut told, now).await;
            }
            if let Some(outcome) = outcome {
                return outcome;
            }
            if rider.state.changed().await.is_err() {
                return Err(Error::internal(format!("the download of {} ended without a word", layer.digest)));
            }
        }
    }

    async fn record_pulled(
        &self,
        request: &PullRequest,
        repository: &Repository,
        resolved: Resolved,
        config: Vec<u8>,
        wanted: &[WantedLayer],
    ) -> Result<((Arc<ImageView>, Digest), bool)> {
        let manifest = ManifestRef {
            media_type: resolved.manifest.media_type.clone(),
            digest: resolved.manifest_digest,
            size: resolved.documents.last().map_or(0, |d| d.bytes.len() as u64),
        };
        for document in resolved.documents {
            self.content().put(document.bytes, &document.content_type).await?;
        }
        let config_size = config.len() as u64;
        let id = self.content().put(config, OCI_CONFIG).await?;
        let reference = &request.reference;
        let mut names = vec![(reference.at_digest(resolved.target), Some(resolved.target))];
        if let (Some(tag), None) = (reference.tag(), reference.digest()) {
            names.push((reference.with_tag(tag)?, Some(resolved.target)));
        }
        let new = NewImage {
            id,
            manifest,
            config_size,
            layers: wanted.iter().map(layer_ref).collect(),
            names,
            owner: request.owner,
            with_auth: repository.used_credentials(),
            pinned: false,
        };
        let (view, newer) = self.record(new).await?;
        Ok(((view, resolved.target), newer))
    }
}

pub(super) fn layer_ref(layer: &WantedLayer) -> LayerRef {
    LayerRef { digest: layer.digest, size: layer.size, media_type: layer.media_type.clone(), diff_id: layer.diff_id }
}

/// The layers of an image: the manifest's blobs with the configuration's diff ids.
pub(super) fn wanted_layers(config: &[u8], manifest: &ImageManifest) -> Result<Vec<WantedLayer>> {
    let document = ImageDocument::parse(manifest.config.digest, config)?;
    if !document.os.is_empty() && document.os != "linux" {
        return Err(Error::invalid(format!(
            "image operating system {:?} cannot be used on this platform",
            document.os
        )));
    }
    if document.rootfs.diff_ids.len() != manifest.layers.len() {
        return Err(Error::invalid(format!(
            "invalid rootfs in image configuration {}: {} diff ids for {} layers",
            manifest.config.digest,
            document.rootfs.diff_ids.len(),
            manifest.layers.len()
        )));
    }
    let join = |(layer, diff_id): (&super::manifest::Descriptor, &Digest)| WantedLayer {
        digest: layer.digest,
        size: layer.size,
        media_type: layer.media_type.clone(),
        diff_id: *diff_id,
    };
    Ok(manifest.layers.iter().zip(&document.rootfs.diff_ids).map(join).collect())
}

/// A blob that is small enough for memory, checked.
pub(super) async fn small_blob(repository: &Repository, digest: Digest, size: u64) -> Result<Vec<u8>> {
    let mut answer = repository.blob(digest, 0).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = answer.next().await.map_err(|e| e.context(format!("blob {digest}")))? {
        if (bytes.len() + piece.len()) as u64 > size {
            return Err(Error::invalid(format!("blob {digest}: the registry sends more than its {size} bytes")));
        }
        bytes.extend_from_slice(&piece);
    }
    if Digest::of(&bytes) != digest {
        let text = format!("filesystem layer verification failed for digest {digest}: got {} other bytes", bytes.len());
        return Err(Error::invalid(text));
    }
    Ok(bytes)
}

/// A step that must not be lost; a receiver that is gone does not matter.
async fn tell(progress: &mpsc::Sender<PullProgress>, step: PullProgress) {
    drop(progress.send(step).await);
}

/// Tells the steps between the last one and `now`, as the flight may have been faster than we looked. A count of bytes
/// is told when there is room for it.
async fn tell_layer(progress: &mpsc::Sender<PullProgress>, told: &mut LayerStatus, now: LayerProgress) {
    if now.status == *told {
        if matches!(now.status, LayerStatus::Downloading | LayerStatus::Extracting) {
            drop(progress.try_send(PullProgress::Layer(now)));
        }
        return;
    }
    let between = [LayerStatus::VerifyingChecksum, LayerStatus::DownloadComplete];
    for status in between.into_iter().filter(|status| *status > *told && *status < now.status) {
        tell(progress, PullProgress::Layer(LayerProgress { status, ..now.clone() })).await;
    }
    *told = now.status;
    tell(progress, PullProgress::Layer(now)).await;
}
