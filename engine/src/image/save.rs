//! `save`: images into one tar that docker loads and that is an OCI layout at the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::pin::Pin;

use bytes::Bytes;
use serde::Serialize;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::StreamReader;

use crate::content::ContentStore;
use crate::error::{Error, Result};
use crate::id::{Digest, ImageId};

use super::index::{Images, not_found};
use super::layout::index_json;
use super::reference::Reference;
use super::view::ManifestRef;

/// The bytes of a saved archive. Dropping it stops the work behind it.
pub type SaveStream = Pin<Box<dyn AsyncRead + Send>>;

const PIECE_BYTES: usize = 128 << 10;
const PIECES_QUEUED_MAX: usize = 8;
const FILE_MODE: u32 = 0o644;

/// One entry of docker's `manifest.json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

/// What goes into the archive.
#[derive(Debug)]
struct Contents {
    index: Vec<u8>,
    docker: Vec<u8>,
    blobs: BTreeSet<Digest>,
}

impl Images {
    /// One archive of `names` (names, ids) that `docker load`, `skopeo docker-archive:` and `skopeo oci-archive:` read.
    /// Layers are in it as they were pulled.
    ///
    /// # Errors
    /// `NotFound` for an unknown name, or when a blob is no longer here. Later failures end the stream with an error.
    pub async fn save(&self, names: &[String]) -> Result<SaveStream> {
        let contents = self.contents(names)?;
        let lease = {
            let _gate = self.overlay().gate().read().await;
            self.leases().create("save", contents.blobs.iter().copied().collect(), Vec::new()).await?
        };
        if let Some(missing) = contents.blobs.iter().find(|digest| self.content().info(**digest).is_none()) {
            lease.release().await?;
            return Err(Error::not_found(format!("save: blob {missing} is not here; pull the image again")));
        }
        let (pieces, queue) = mpsc::channel(PIECES_QUEUED_MAX);
        let content = self.content().clone();
        tokio::spawn(async move {
            let failed = pieces.clone();
            let writing = tokio::task::spawn_blocking(move || write_archive(&content, &contents, pieces));
            let result = writing.await.unwrap_or_else(|e| Err(Error::internal("write an archive").with_source(e)));
            if let Err(error) = result {
                drop(failed.send(Err(io::Error::other(error))).await);
            }
            if let Err(error) = lease.release().await {
                tracing::warn!(%error, "cannot end the lease of a saved archive");
            }
        });
        Ok(Box::pin(StreamReader::new(ReceiverStream::new(queue))))
    }

    fn contents(&self, names: &[String]) -> Result<Contents> {
        let catalogue = self.catalogue();
        let mut images: BTreeMap<ImageId, Vec<Reference>> = BTreeMap::new();
        for name in names {
            let (image, found_by) = catalogue.find(name)?;
            let tags = images.entry(image).or_default();
            // A repository alone means all its tags; a digest names the image but is no tag.
            tags.extend(found_by.filter(|reference| reference.digest().is_none()));
        }
        let (mut layout, mut docker, mut blobs) = (Vec::new(), Vec::new(), BTreeSet::new());
        for (id, mut tags) in images {
            tags.sort();
            tags.dedup();
            let (record, _) = catalogue.records.get(&id).ok_or_else(|| not_found(&id.to_string()))?;
            docker.push(DockerEntry {
                config: blob_name(id),
                repo_tags: tags.iter().map(Reference::familiar).collect(),
                layers: record.layers.iter().map(|layer| blob_name(layer.digest)).collect(),
            });
            blobs.extend([id, record.manifest.digest]);
            blobs.extend(record.layers.iter().map(|layer| layer.digest));
            layout.push((record.manifest.clone(), tags) as (ManifestRef, Vec<Reference>));
        }
        let docker = serde_json::to_vec(&docker).map_err(|e| Error::internal("write manifest.json").with_source(e))?;
        Ok(Contents { index: index_json(&layout)?, docker, blobs })
    }
}

fn blob_name(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn write_archive(content: &ContentStore, contents: &Contents, pieces: mpsc::Sender<io::Result<Bytes>>) -> Result<()> {
    let mut tar = tar::Builder::new(PieceWriter { pieces, piece: Vec::with_capacity(PIECE_BYTES) });
    for (name, bytes) in [
        ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.as_slice()),
        ("index.json", contents.index.as_slice()),
        ("manifest.json", contents.docker.as_slice()),
    ] {
        tar.append(&header(name, bytes.len() as u64)?, bytes)?;
    }
    for digest in &contents.blobs {
        let file = content.open_blob(*digest)?;
        tar.append(&header(&blob_name(*digest), file.metadata()?.len())?, file)?;
    }
    Ok(tar.into_inner()?.flush()?)
}

fn header(name: &str, size: u64) -> Result<tar::Header> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_size(size);
    header.set_mode(FILE_MODE);
    header.set_mtime(0);
    header.set_cksum();
    Ok(header)
}

/// Hands what is written to the stream, in larger pieces. A reader that is gone is an error, so that the work stops.
struct PieceWriter {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let take = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..take]);
        if self.piece.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(take)
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        self.pieces.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
