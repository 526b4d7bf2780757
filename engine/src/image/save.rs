//! `save`: images into one tar that docker loads and that is an OCI layout at the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use serde::Serialize;

use crate::archive::ArchiveStream;
use crate::content::ContentStore;
use crate::error::{Error, Result};
use crate::id::{Digest, ImageId};

use super::index::{Images, not_found};
use super::layout::index_json;
use super::reference::Reference;
use super::view::ManifestRef;

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
    pub async fn save(&self, names: &[String]) -> Result<ArchiveStream> {
        let contents = self.contents(names)?;
        let lease = {
            let _gate = self.overlay().gate().read().await;
            self.leases().create("save", contents.blobs.iter().copied().collect(), Vec::new()).await?
        };
        if let Some(missing) = contents.blobs.iter().find(|digest| self.content().info(**digest).is_none()) {
            lease.release().await?;
            return Err(Error::not_found(format!("save: blob {missing} is not here; pull the image again")));
        }
        let content = self.content().clone();
        let runtime = tokio::runtime::Handle::current();
        Ok(crate::archive::stream(move |pieces| {
            let written = write_archive(&content, &contents, pieces);
            if let Err(error) = runtime.block_on(lease.release()) {
                tracing::warn!(%error, "cannot end the lease of a saved archive");
            }
            written
        }))
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

fn write_archive(content: &ContentStore, contents: &Contents, pieces: impl Write) -> Result<()> {
    let mut tar = tar::Builder::new(pieces);
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
