//! `load`: images out of a tar, as docker or an OCI layout writes them.
//!
//! The archive is read once, as a stream: each file in it is put down in a scratch directory while it is hashed, because
//! the list of what belongs together may come last. Nothing in it names a path of ours; blobs are found by the digest
//! that was computed, never by the one that is claimed.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use serde::Deserialize;
use sha2::Digest as _;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::mpsc;

use crate::content::{ContentStore, Scratch};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Digest, ImageId, Owner};
use crate::metadata::Durability;
use crate::metadata::tables::blob::BlobRow;
use crate::metadata::tables::layer::LayerRow;
use crate::metadata::tables::{blob, layer};
use crate::snapshot::apply::inside;
use crate::snapshot::tar_stream::{EntryKind, TarStream};

use super::flight::WantedLayer;
use super::index::{Images, NewImage};
use super::layout::{CONTAINERD_NAME, REF_NAME};
use super::manifest::{self, CONFIG_BYTES_MAX, Descriptor, ImageManifest, MANIFEST_BYTES_MAX, Manifest};
use super::platform::Platform;
use super::pull::{layer_ref, wanted_layers};
use super::reference::Reference;
use super::unpack::{Compression, Unpacker, pipe};
use super::view::ManifestRef;

/// Files in one archive.
const FILES_MAX: usize = 100_000;
/// Images in one archive.
const IMAGES_MAX: usize = 1_000;
/// Links followed from a name to a file.
const LINKS_MAX: usize = 8;
const READ_BYTES: usize = 128 << 10;
const PIECES_QUEUED_MAX: usize = 8;

/// One image out of a loaded archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedImage {
    /// The image.
    pub id: ImageId,
    /// Its name in the archive; docker prints `Loaded image: x:y`, or `Loaded image ID: sha256:…` without one.
    pub reference: Option<Reference>,
}

/// A file of an archive, put down.
#[derive(Debug)]
pub(super) struct Spooled {
    content: SpooledContent,
    digest: Digest,
    size: u64,
}

#[derive(Debug)]
enum SpooledContent {
    Bytes(Vec<u8>),
    /// Ours: may be moved away.
    Scratch(PathBuf),
    /// Somebody else's: to be copied.
    Foreign(File),
}

/// All files of an archive by their path in it.
#[derive(Debug)]
pub(super) struct SpooledFiles {
    files: BTreeMap<String, Spooled>,
    /// Links inside of the archive, as docker writes them for layers that are shared.
    links: HashMap<String, String>,
    by_digest: HashMap<Digest, String>,
    _scratch: Option<Scratch>,
}

/// One entry of docker's `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// An image found in an archive.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) manifest: Vec<u8>,
    pub(super) parsed: ImageManifest,
    pub(super) config: Vec<u8>,
    pub(super) names: Vec<Reference>,
}

impl Spooled {
    pub(super) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { digest: Digest::of(&bytes), size: bytes.len() as u64, content: SpooledContent::Bytes(bytes) }
    }

    pub(super) fn from_file(mut file: File) -> Result<Self> {
        let mut hash = sha2::Sha256::new();
        let size = std::io::copy(&mut file, &mut hash)?;
        let digest = Digest::from_bytes(hash.finalize().into());
        Ok(Self { digest, size, content: SpooledContent::Foreign(file) })
    }

    /// A file of ours that somebody has hashed.
    pub(super) fn in_scratch(path: PathBuf, digest: Digest, size: u64) -> Self {
        Self { content: SpooledContent::Scratch(path), digest, size }
    }

    fn open(&self) -> Result<Box<dyn std::io::Read + Send>> {
        Ok(match &self.content {
            SpooledContent::Bytes(bytes) => Box::new(std::io::Cursor::new(bytes.clone())),
            SpooledContent::Scratch(path) => Box::new(File::open(path)?),
            SpooledContent::Foreign(file) => {
                let mut file = file.try_clone()?;
                file.seek(SeekFrom::Start(0))?;
                Box::new(file)
            }
        })
    }

    fn read(&self, bytes_max: u64) -> Result<Vec<u8>> {
        if self.size > bytes_max {
            return Err(Error::invalid(format!("it has {} bytes; at most {bytes_max} are read", self.size)));
        }
        let mut bytes = Vec::new();
        self.open()?.take(bytes_max).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Becomes a blob: moved if it is ours, else copied; not synced, not recorded.
    fn become_blob(&self, content: &ContentStore) -> Result<()> {
        let target = content.blob_path(self.digest);
        if let SpooledContent::Scratch(path) = &self.content
            && std::fs::hard_link(path, &target).or_else(exists_is_fine).is_ok()
        {
            return Ok(());
        }
        let mut file = File::create(&target)?;
        std::io::copy(&mut self.open()?, &mut file)?;
        Ok(())
    }
}

fn exists_is_fine(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }
}

impl SpooledFiles {
    pub(super) fn new(files: BTreeMap<String, Spooled>) -> Self {
        Self::with_links(files, HashMap::new(), None)
    }

    /// One file that is no archive.
    pub(super) fn one(name: &str, file: Spooled, scratch: Scratch) -> Self {
        Self::with_links(BTreeMap::from([(name.to_owned(), file)]), HashMap::new(), Some(scratch))
    }

    fn with_links(files: BTreeMap<String, Spooled>, links: HashMap<String, String>, scratch: Option<Scratch>) -> Self {
        let by_digest = files.iter().map(|(path, spooled)| (spooled.digest, path.clone())).collect();
        Self { files, links, by_digest, _scratch: scratch }
    }

    /// A file by its path in the archive, following the archive's own links.
    fn by_path(&self, path: &str) -> Result<&Spooled> {
        let mut at = inside(path.as_bytes())?.to_string_lossy().into_owned();
        for _ in 0..LINKS_MAX {
            match (self.files.get(&at), self.links.get(&at)) {
                (Some(spooled), _) => return Ok(spooled),
                (None, Some(target)) => at.clone_from(target),
                (None, None) => break,
            }
        }
        Err(Error::invalid(format!("invalid archive: it names {path:?}, which is not in it")))
    }

    fn by_digest(&self, digest: Digest) -> Result<&Spooled> {
        let path = self.by_digest.get(&digest);
        path.and_then(|path| self.files.get(path))
            .ok_or_else(|| Error::invalid(format!("invalid archive: blob {digest} is missing, or has another digest")))
    }

    /// What images there are.
    fn find(&self, layers_max: usize) -> Result<Vec<Found>> {
        let docker = match self.files.get("manifest.json") {
            Some(file) => {
                let bytes = file.read(MANIFEST_BYTES_MAX as u64).map_err(|e| e.context("manifest.json"))?;
                let entries: Vec<DockerEntry> = serde_json::from_slice(&bytes)
                    .map_err(|e| Error::invalid(format!("invalid archive: manifest.json: {e}")))?;
                Some(entries)
            }
            None => None,
        };
        let found = match (self.files.get("index.json"), &docker) {
            (Some(index), _) => self.find_oci(index, docker.as_deref().unwrap_or_default(), layers_max)?,
            (None, Some(entries)) => {
                entries.iter().map(|entry| self.docker_image(entry, layers_max)).collect::<Result<_>>()?
            }
            (None, None) => {
                let text = "invalid archive: it has neither manifest.json (docker) nor index.json (OCI layout)";
                return Err(Error::invalid(text));
            }
        };
        if found.len() > IMAGES_MAX {
            return Err(Error::invalid(format!("invalid archive: more than {IMAGES_MAX} images")));
        }
        Ok(found)
    }

    fn find_oci(&self, index: &Spooled, docker: &[DockerEntry], layers_max: usize) -> Result<Vec<Found>> {
        let bytes = index.read(MANIFEST_BYTES_MAX as u64).map_err(|e| e.context("index.json"))?;
        let Manifest::Index(entries) =
            manifest::parse(&bytes, "", layers_max).map_err(|e| e.context("invalid archive: index.json"))?
        else {
            return Err(Error::invalid("invalid archive: index.json is no index"));
        };
        let mut found: Vec<Found> = Vec::new();
        for entry in &entries {
            let names = oci_names(entry)?;
            let Some(image) = self.oci_image(entry, names, layers_max)? else { continue };
            // The same image under a further name.
            match found.iter_mut().find(|known| known.manifest == image.manifest) {
                Some(known) => known.names.extend(image.names),
                None => found.push(image),
            }
        }
        for image in &mut found {
            // docker writes both documents; its own knows the whole names.
            for entry in docker {
                if self.by_path(&entry.config).is_ok_and(|file| file.digest == image.parsed.config.digest) {
                    image.names.extend(docker_names(entry)?);
                }
            }
            image.names.sort();
            image.names.dedup();
        }
        Ok(found)
    }

    fn oci_image(&self, entry: &Descriptor, names: Vec<Reference>, layers_max: usize) -> Result<Option<Found>> {
        let mut at = entry.clone();
        for _ in 0..=manifest::INDEX_DEPTH_MAX {
            let bytes = self.by_digest(at.digest)?.read(MANIFEST_BYTES_MAX as u64)?;
            match manifest::parse(&bytes, &at.media_type, layers_max).map_err(|e| e.context(at.digest))? {
                Manifest::Image(parsed) => {
                    let config = self.by_digest(parsed.config.digest)?.read(CONFIG_BYTES_MAX)?;
                    return Ok(Some(Found { manifest: bytes, parsed, config, names }));
                }
                Manifest::Index(entries) => {
                    let mut here = manifest::candidates(&entries, &Platform::host()).into_iter();
                    // An archive may hold one platform of a larger index.
                    match here.find(|candidate| self.by_digest.contains_key(&candidate.digest)) {
                        Some(candidate) => at = candidate,
                        None => return Ok(None),
                    }
                }
            }
        }
        Err(Error::invalid("invalid archive: indexes are nested too deep"))
    }

    /// docker's form has no manifest: one is made.
    fn docker_image(&self, entry: &DockerEntry, layers_max: usize) -> Result<Found> {
        let config = self.by_path(&entry.config)?.read(CONFIG_BYTES_MAX).map_err(|e| e.context(&entry.config))?;
        let mut layers = Vec::new();
        for path in entry.layers.iter().flatten() {
            let file = self.by_path(path)?;
            let mut magic = Vec::new();
            file.open()?.take(Compression::MAGIC_BYTES as u64).read_to_end(&mut magic)?;
            let media_type = format!("{}{}", manifest::OCI_LAYER, Compression::of(&magic).media_type_suffix());
            layers.push(serde_json::json!({"mediaType": media_type, "digest": file.digest, "size": file.size}));
        }
        let document = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": manifest::OCI_MANIFEST,
            "config": {"mediaType": manifest::OCI_CONFIG, "digest": Digest::of(&config), "size": config.len()},
            "layers": layers,
        });
        let bytes = serde_json::to_vec(&document).map_err(|e| Error::internal("write a manifest").with_source(e))?;
        match manifest::parse(&bytes, manifest::OCI_MANIFEST, layers_max)? {
            Manifest::Image(parsed) => Ok(Found { manifest: bytes, parsed, config, names: docker_names(entry)? }),
            Manifest::Index(_) => Err(Error::internal("a manifest that was just made is an index")),
        }
    }
}

fn docker_names(entry: &DockerEntry) -> Result<Vec<Reference>> {
    entry.repo_tags.iter().flatten().map(|tag| Ok(tag.parse::<Reference>()?.or_latest())).collect()
}

/// `io.containerd.image.name` is a whole name; `ref.name` may be one, or a tag only, which names nothing here.
fn oci_names(entry: &Descriptor) -> Result<Vec<Reference>> {
    let Some(annotations) = &entry.annotations else { return Ok(Vec::new()) };
    if let Some(name) = annotations.get(CONTAINERD_NAME) {
        return Ok(vec![name.parse::<Reference>()?.or_latest()]);
    }
    let whole = annotations.get(REF_NAME).filter(|name| name.contains([':', '/']));
    Ok(whole.and_then(|name| name.parse::<Reference>().ok()).map(Reference::or_latest).into_iter().collect())
}

impl Images {
    /// Reads a docker archive or an OCI layout (plain, gzip or zstd tar) and answers what was in it.
    ///
    /// # Errors
    /// `InvalidArgument` that says what is wrong with the archive; `ResourceExhausted` when the disk is full. Nothing of
    /// it stays then.
    pub async fn load(
        &self,
        archive: impl AsyncRead + Send + Unpin + 'static,
        owner: Owner,
    ) -> Result<Vec<LoadedImage>> {
        let files = self.spool(archive).await?;
        self.load_files(files, owner, false).await
    }

    /// Reads the archive that an operator ships with the engine; its images are pinned: no clean-up of either door takes
    /// them.
    ///
    /// # Errors
    /// As [`Images::load`].
    pub async fn load_pinned(&self, archive: impl AsyncRead + Send + Unpin + 'static) -> Result<Vec<LoadedImage>> {
        let files = self.spool(archive).await?;
        self.load_files(files, Owner::Docker, true).await
    }

    async fn spool(&self, mut archive: impl AsyncRead + Send + Unpin + 'static) -> Result<SpooledFiles> {
        let scratch = self.content().scratch()?;
        let (pieces, mut queue) = mpsc::channel::<Vec<u8>>(PIECES_QUEUED_MAX);
        let bytes_max = self.settings().layer_unpacked_bytes_max;
        let reader = tokio::task::spawn_blocking(move || {
            let (mut inflate, chunks) = pipe(bytes_max);
            let untar = std::thread::Builder::new().name("load".into()).spawn(move || put_down(chunks, scratch))?;
            let mut failed = None;
            while let Some(piece) = queue.blocking_recv() {
                if let Err(error) = inflate.write_all(&piece) {
                    failed = Some(crate::snapshot::tar_stream::stream_error(error));
                    break;
                }
            }
            let ended = match failed {
                Some(error) => {
                    drop(inflate);
                    Err(error)
                }
                None => inflate
                    .end()
                    .and_then(super::unpack::DiffSink::end)
                    .map_err(crate::snapshot::tar_stream::stream_error),
            };
            let files = untar.join().map_err(|_| Error::internal("the thread that reads an archive has panicked"))?;
            match (ended, files) {
                (Ok(_), files) => files,
                (Err(error), Err(other)) if other.kind() == ErrorKind::Cancelled => Err(error),
                (Err(_), Err(other)) => Err(other),
                (Err(error), Ok(_)) => Err(error),
            }
        });
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let count = archive.read(&mut buffer).await.map_err(|e| Error::from(e).context("read the archive"))?;
            // The thread has stopped when the queue is closed: its reason comes below.
            if count == 0 || pieces.send(buffer[..count].to_vec()).await.is_err() {
                break;
            }
        }
        drop(pieces);
        reader.await.map_err(|e| Error::internal("read an archive").with_source(e))?
    }

    pub(super) async fn load_files(&self, files: SpooledFiles, owner: Owner, pinned: bool) -> Result<Vec<LoadedImage>> {
        let layers_max = self.settings().layers_max;
        let files = Arc::new(files);
        let finder = Arc::clone(&files);
        let found = tokio::task::spawn_blocking(move || finder.find(layers_max))
            .await
            .map_err(|e| Error::internal("read an archive").with_source(e))??;
        let mut loaded = Vec::new();
        for image in found {
            loaded.extend(self.load_image(&files, image, owner, pinned).await?);
        }
        Ok(loaded)
    }

    /// Makes an image whose new content is in `files`; its other layers are here.
    pub(super) async fn load_found(&self, files: SpooledFiles, found: Found, owner: Owner) -> Result<Vec<LoadedImage>> {
        self.load_image(&Arc::new(files), found, owner, false).await
    }

    async fn load_image(
        &self,
        files: &Arc<SpooledFiles>,
        image: Found,
        owner: Owner,
        pinned: bool,
    ) -> Result<Vec<LoadedImage>> {
        let wanted = wanted_layers(&image.config, &image.parsed)?;
        let id = Digest::of(&image.config);
        let manifest = ManifestRef {
            media_type: image.parsed.media_type.clone(),
            digest: Digest::of(&image.manifest),
            size: image.manifest.len() as u64,
        };
        let mut blobs: Vec<Digest> = wanted.iter().map(|layer| layer.digest).collect();
        blobs.extend([id, manifest.digest]);
        let lease = {
            let _gate = self.overlay().gate().read().await;
            self.leases().create("load", blobs, wanted.iter().map(|layer| layer.diff_id).collect()).await?
        };
        let result = self.load_content(files, &wanted).await;
        let recorded = match result {
            Ok(()) => self.record_loaded(image, manifest, &wanted, owner, pinned).await,
            Err(error) => Err(error),
        };
        lease.release().await?;
        if recorded.is_err() {
            self.sweep().await?;
        }
        recorded
    }

    /// Records an image whose layers are here and held.
    pub(super) async fn keep_found(&self, image: Found, owner: Owner) -> Result<Vec<LoadedImage>> {
        let wanted = wanted_layers(&image.config, &image.parsed)?;
        let manifest = ManifestRef {
            media_type: image.parsed.media_type.clone(),
            digest: Digest::of(&image.manifest),
            size: image.manifest.len() as u64,
        };
        let lease = {
            let _gate = self.overlay().gate().read().await;
            self.leases().hold("keep an image")
        };
        lease.add([manifest.digest, Digest::of(&image.config)], []);
        self.record_loaded(image, manifest, &wanted, owner, false).await
    }

    async fn record_loaded(
        &self,
        image: Found,
        manifest: ManifestRef,
        wanted: &[WantedLayer],
        owner: Owner,
        pinned: bool,
    ) -> Result<Vec<LoadedImage>> {
        let config_size = image.config.len() as u64;
        self.content().put(image.manifest, &manifest.media_type).await?;
        let id = self.content().put(image.config, manifest::OCI_CONFIG).await?;
        let new = NewImage {
            id,
            manifest,
            config_size,
            layers: wanted.iter().map(layer_ref).collect(),
            names: image.names.iter().map(|name| (name.clone(), None)).collect(),
            owner,
            with_auth: false,
            pinned,
        };
        self.record(new).await?;
        if image.names.is_empty() {
            return Ok(vec![LoadedImage { id, reference: None }]);
        }
        Ok(image.names.into_iter().map(|name| LoadedImage { id, reference: Some(name) }).collect())
    }

    /// Blobs and layers that are not here yet, a few at a time; one sync for all, then the rows.
    async fn load_content(&self, files: &Arc<SpooledFiles>, wanted: &[WantedLayer]) -> Result<()> {
        let mut seen = std::collections::HashSet::new();
        let mut todo =
            wanted.iter().filter(|layer| !self.flights().landed(layer) && seen.insert(layer.digest)).cloned();
        let mut working = FuturesUnordered::new();
        for layer in todo.by_ref().take(self.settings().layers_parallel_max.max(1)) {
            working.push(self.load_layer(files, layer));
        }
        let (mut blobs, mut layers) = (Vec::new(), Vec::new());
        let mut failed = None;
        while let Some(done) = working.next().await {
            match done {
                Ok((blob, layer)) => {
                    blobs.push(blob);
                    layers.extend(layer);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
            if failed.is_none()
                && let Some(layer) = todo.next()
            {
                working.push(self.load_layer(files, layer));
            }
        }
        if let Some(error) = failed {
            for blob in blobs {
                crate::content::remove_file_if_there(&self.content().blob_path(blob.digest))?;
            }
            return Err(error);
        }
        self.flights().sync().await?;
        let rows = (blobs.clone(), layers.clone());
        let write = self.store().write(Durability::Crash, move |tx| {
            rows.0.iter().try_for_each(|row| blob::put(tx, row))?;
            rows.1.iter().try_for_each(|row| layer::put(tx, row))
        });
        write.await?;
        self.content().publish(blobs);
        layers.into_iter().for_each(|row| self.overlay().publish(row));
        Ok(())
    }

    async fn load_layer(&self, files: &Arc<SpooledFiles>, wanted: WantedLayer) -> Result<(BlobRow, Option<LayerRow>)> {
        let (files, overlay, content) = (Arc::clone(files), self.overlay().clone(), self.content().clone());
        let bytes_max = self.settings().layer_unpacked_bytes_max;
        let work = move || {
            let file = files.by_digest(wanted.digest)?;
            let row = content.row(wanted.digest, file.size, &wanted.media_type);
            let layer = match overlay.layer(wanted.diff_id) {
                Some(_) => None,
                None => Some(unpack_file(&overlay, file, &wanted, bytes_max)?),
            };
            if content.info(wanted.digest).is_none() {
                file.become_blob(&content)?;
            }
            Ok((row, layer))
        };
        tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal("unpack a layer").with_source(e))?
    }
}

fn unpack_file(
    overlay: &crate::snapshot::Overlay,
    file: &Spooled,
    wanted: &WantedLayer,
    bytes_max: u64,
) -> Result<LayerRow> {
    let staging = overlay.stage()?;
    let mut unpacker = Unpacker::start(&staging.fs(), bytes_max)?;
    let mut reader = file.open()?;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let count = reader.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        if let Err(error) = unpacker.write(&buffer[..count]) {
            return Err(unpacker.fail(error).context(format!("layer {}", wanted.digest)));
        }
    }
    super::flight::place(overlay, unpacker, staging, wanted)
}

/// The archive's thread: every file into the scratch directory, hashed on the way.
fn put_down(chunks: super::unpack::ChunkReader, scratch: Scratch) -> Result<SpooledFiles> {
    let mut tar = TarStream::new(chunks);
    let (mut files, mut links) = (BTreeMap::new(), HashMap::new());
    let mut entries = 0_usize;
    while let Some(entry) = tar.next_entry()? {
        entries += 1;
        if entries > FILES_MAX {
            return Err(Error::invalid(format!("invalid archive: more than {FILES_MAX} files")));
        }
        let path = inside(&entry.path)?.to_string_lossy().into_owned();
        match entry.kind {
            EntryKind::File if entry.sparse.is_none() => {
                files.insert(path, put_down_one(&mut tar, scratch.path().join(entries.to_string()))?);
            }
            EntryKind::File => {
                return Err(Error::invalid(format!("invalid archive: {path:?} is stored as a sparse file")));
            }
            EntryKind::Symlink => {
                let parent = std::path::Path::new(&path).parent().unwrap_or(std::path::Path::new("")).to_owned();
                let target = parent.join(String::from_utf8_lossy(&entry.link).as_ref());
                links.insert(path, inside(target.as_os_str().as_encoded_bytes())?.to_string_lossy().into_owned());
            }
            EntryKind::Hardlink => {
                links.insert(path, inside(&entry.link)?.to_string_lossy().into_owned());
            }
            EntryKind::Directory => {}
            _ => return Err(Error::invalid(format!("invalid archive: {path:?} is neither a file nor a directory"))),
        }
    }
    tar.drain()?;
    Ok(SpooledFiles::with_links(files, links, Some(scratch)))
}

fn put_down_one<R: std::io::BufRead>(tar: &mut TarStream<R>, path: PathBuf) -> Result<Spooled> {
    let mut file = File::create_new(&path)?;
    let mut hash = sha2::Sha256::new();
    let mut size = 0;
    loop {
        let piece = tar.fill()?;
        if piece.is_empty() {
            break;
        }
        file.write_all(piece)?;
        hash.update(piece);
        let count = piece.len();
        size += count as u64;
        tar.consume(count);
    }
    let digest = Digest::from_bytes(hash.finalize().into());
    Ok(Spooled { content: SpooledContent::Scratch(path), digest, size })
}
