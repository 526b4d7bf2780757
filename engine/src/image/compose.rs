//! Images that are made here: a layer of a container (`commit`), or a file system as a whole (`import`).

use std::io::Write;

use sha2::Digest as _;
use tokio::io::AsyncRead;
use tokio_util::io::SyncIoBridge;

use crate::content::Scratch;
use crate::error::{Error, Result};
use crate::id::{Digest, ImageId, Owner};
use crate::snapshot::tar_stream::stream_error;

use crate::metadata::tables::image::LayerRef;

use super::archive::{Found, Spooled, SpooledFiles};
use super::config::{CONFIG_BYTES_MAX, ImageConfig};
use super::index::Images;
use super::manifest::{self, Manifest, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST};
use super::platform::Platform;
use super::reference::Reference;
use super::unpack::Compression;

/// A layer's tar, not compressed, put down.
#[derive(Debug)]
pub(crate) struct SpooledLayer {
    files: SpooledFiles,
    digest: Digest,
    size: u64,
    /// It has no entry: the image needs no layer for it.
    empty: bool,
}

/// What an image that is made here is like.
#[derive(Debug)]
pub(crate) struct ComposeRequest {
    /// The image whose layers are below.
    pub(crate) parent: Option<ImageId>,
    pub(crate) config: ImageConfig,
    pub(crate) author: String,
    pub(crate) comment: String,
    /// What made the layer, for the history.
    pub(crate) created_by: String,
    /// The machine's own when there is neither a parent nor this.
    pub(crate) platform: Option<Platform>,
    pub(crate) reference: Option<Reference>,
    pub(crate) owner: Owner,
}

/// A file system that becomes an image.
#[derive(Debug, Clone, Default)]
pub struct ImportRequest {
    /// The name of the image, if it gets one.
    pub reference: Option<Reference>,
    /// Free text.
    pub comment: String,
    /// Dockerfile instructions for its configuration.
    pub changes: Vec<String>,
    /// Another platform than this machine's.
    pub platform: Option<Platform>,
}

impl Images {
    /// Makes an image of one layer out of a tar (plain, or compressed with gzip, zstd, bzip2 or xz).
    ///
    /// # Errors
    /// `InvalidArgument` for an instruction or an archive that is wrong; `ResourceExhausted` when the disk is full.
    pub async fn import(
        &self,
        archive: impl AsyncRead + Send + Unpin + 'static,
        request: ImportRequest,
        owner: Owner,
    ) -> Result<ImageId> {
        let config = crate::build::changed(ImageConfig::default(), &request.changes)?;
        let bytes_max = self.settings().layer_unpacked_bytes_max;
        let archive = SyncIoBridge::new(archive);
        let copy = move |sink: &mut dyn Write| {
            let mut plain = crate::archive::uncompressed(archive, bytes_max).map_err(stream_error)?;
            std::io::copy(&mut plain, sink).map_err(stream_error)?;
            Ok(())
        };
        let layer = self.spool_layer(copy).await?;
        if layer.size == 0 {
            return Err(Error::invalid("the archive is empty"));
        }
        let made = ComposeRequest {
            parent: None,
            config,
            author: String::new(),
            comment: request.comment,
            created_by: String::new(),
            platform: request.platform,
            reference: request.reference,
            owner,
        };
        self.compose(layer, made).await
    }

    /// Puts a layer down as `write` makes it.
    pub(crate) async fn spool_layer(
        &self,
        write: impl FnOnce(&mut dyn Write) -> Result<()> + Send + 'static,
    ) -> Result<SpooledLayer> {
        let scratch = self.content().scratch()?;
        let work = move || spool(scratch, write);
        tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal("write a layer").with_source(e))?
    }

    /// Makes an image of a layer and what it stands on.
    pub(crate) async fn compose(&self, layer: SpooledLayer, request: ComposeRequest) -> Result<ImageId> {
        let (mut document, mut layers) = self.base(&request)?;
        let now = jiff::Timestamp::now().to_string();
        if !layer.empty {
            let diff_ids = &mut document["rootfs"]["diff_ids"];
            match diff_ids.as_array_mut() {
                Some(list) => list.push(layer.digest.to_string().into()),
                None => *diff_ids = serde_json::json!([layer.digest]),
            }
            layers.push(serde_json::json!({"mediaType": OCI_LAYER, "digest": layer.digest, "size": layer.size}));
        }
        document["rootfs"]["type"] = "layers".into();
        document["created"] = now.clone().into();
        document["author"] = request.author.clone().into();
        document["comment"] = request.comment.clone().into();
        document["config"] = serde_json::to_value(&request.config)
            .map_err(|e| Error::internal("write a configuration").with_source(e))?;
        let mut step = serde_json::json!({"created": now, "created_by": request.created_by});
        for (key, text) in [("author", &request.author), ("comment", &request.comment)] {
            if !text.is_empty() {
                step[key] = text.clone().into();
            }
        }
        if layer.empty {
            step["empty_layer"] = true.into();
        }
        match document["history"].as_array_mut() {
            Some(history) => history.push(step),
            None => document["history"] = serde_json::json!([step]),
        }
        let found = found(&document, layers, request.reference, self.settings().layers_max)?;
        let loaded = self.load_found(layer.files, found, request.owner).await?;
        let first = loaded.into_iter().next().ok_or_else(|| Error::internal("an image that was just made is gone"))?;
        Ok(first.id)
    }

    /// The configuration of an image as it is stored, and its layers.
    pub(crate) fn document(&self, id: ImageId) -> Result<(Vec<u8>, Vec<LayerRef>)> {
        let catalogue = self.catalogue();
        let gone = || Error::not_found(format!("No such image: {id}"));
        let (record, _) = catalogue.records.get(&id).ok_or_else(gone)?;
        Ok((self.content().read(id, CONFIG_BYTES_MAX)?, record.layers.clone()))
    }

    /// Makes an image of a configuration and layers that are here and that the caller holds. Answers its id and its
    /// manifest's digest.
    pub(crate) async fn keep_built(
        &self,
        document: &serde_json::Value,
        layers: &[LayerRef],
        names: Vec<Reference>,
        owner: Owner,
    ) -> Result<(ImageId, Digest)> {
        let descriptors = layers.iter().map(|layer| {
            let media_type = oci_layer_type(&layer.media_type);
            serde_json::json!({"mediaType": media_type, "digest": layer.digest, "size": layer.size})
        });
        let mut found = found(document, descriptors.collect(), None, self.settings().layers_max)?;
        found.names = names;
        let (id, manifest) = (Digest::of(&found.config), Digest::of(&found.manifest));
        let catalogue = self.catalogue();
        let named = |name: &Reference| catalogue.names.get(name).is_some_and(|row| row.image == id);
        if catalogue.records.contains_key(&id) && found.names.iter().all(named) {
            return Ok((id, manifest));
        }
        self.keep_found(found, owner).await?;
        Ok((id, manifest))
    }

    /// The configuration to begin with, and the descriptors of the layers that are there already.
    fn base(&self, request: &ComposeRequest) -> Result<(serde_json::Value, Vec<serde_json::Value>)> {
        let Some(parent) = request.parent else {
            let platform = request.platform.clone().unwrap_or_else(Platform::host);
            let mut document =
                serde_json::json!({"os": platform.os, "architecture": platform.architecture, "rootfs": {}});
            if let Some(variant) = &platform.variant {
                document["variant"] = variant.clone().into();
            }
            return Ok((document, Vec::new()));
        };
        let catalogue = self.catalogue();
        let gone = || Error::not_found(format!("No such image: {parent}"));
        let (record, _) = catalogue.records.get(&parent).ok_or_else(gone)?;
        let bytes = self.content().read(parent, CONFIG_BYTES_MAX)?;
        let mut document: serde_json::Value = serde_json::from_slice(&bytes)
            .map_err(|e| Error::internal(format!("configuration {parent}")).with_source(e))?;
        if let Some(fields) = document.as_object_mut() {
            for stale in ["container", "container_config", "id", "parent", "docker_version"] {
                fields.remove(stale);
            }
        }
        let layers = record.layers.iter().map(|layer| {
            let media_type = oci_layer_type(&layer.media_type);
            serde_json::json!({"mediaType": media_type, "digest": layer.digest, "size": layer.size})
        });
        Ok((document, layers.collect()))
    }
}

/// docker's name of a layer's type as OCI's.
pub(super) fn oci_layer_type(media_type: &str) -> String {
    match media_type {
        docker if docker.starts_with("application/vnd.docker.") => {
            let suffix = if docker.ends_with("gzip") { Compression::Gzip } else { Compression::Plain };
            format!("{OCI_LAYER}{}", suffix.media_type_suffix())
        }
        other => other.to_owned(),
    }
}

fn found(
    document: &serde_json::Value,
    layers: Vec<serde_json::Value>,
    name: Option<Reference>,
    layers_max: usize,
) -> Result<Found> {
    let failed = |e: serde_json::Error| Error::internal("write a manifest").with_source(e);
    let config = serde_json::to_vec(document).map_err(failed)?;
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": Digest::of(&config), "size": config.len()},
        "layers": layers,
    });
    let bytes = serde_json::to_vec(&manifest).map_err(failed)?;
    match manifest::parse(&bytes, OCI_MANIFEST, layers_max)? {
        Manifest::Image(parsed) => Ok(Found { manifest: bytes, parsed, config, names: name.into_iter().collect() }),
        Manifest::Index(_) => Err(Error::internal("a manifest that was just made is an index")),
    }
}

fn spool(scratch: Scratch, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<SpooledLayer> {
    let path = scratch.path().join("layer");
    let file = std::io::BufWriter::with_capacity(1 << 17, std::fs::File::create_new(&path)?);
    let mut sink = Hashed::new(file);
    write(&mut sink)?;
    let empty = sink.zeros;
    let (digest, size) = sink.end()?;
    let files = SpooledFiles::one("layer", Spooled::in_scratch(path, digest, size), scratch);
    Ok(SpooledLayer { files, digest, size, empty })
}

/// Counts and hashes on the way to a file.
pub(crate) struct Hashed<W> {
    file: W,
    hash: sha2::Sha256,
    size: u64,
    /// Nothing but the end of an archive so far.
    zeros: bool,
}

impl<W: Write> Hashed<W> {
    pub(crate) fn new(file: W) -> Self {
        Self { file, hash: sha2::Sha256::new(), size: 0, zeros: true }
    }

    /// Flushes, and answers the digest and the bytes of what was written.
    pub(crate) fn end(mut self) -> Result<(Digest, u64)> {
        self.file.flush()?;
        Ok((Digest::from_bytes(self.hash.finalize().into()), self.size))
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.size += count as u64;
        self.zeros &= bytes[..count].iter().all(|byte| *byte == 0);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}
