//! OCI image layouts: the index of our own, and images taken in from one.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::id::{Digest, Owner};

use super::archive::LoadedImage;
use super::index::Images;
use super::manifest::{MANIFEST_BYTES_MAX, OCI_INDEX};
use super::reference::Reference;
use super::view::ManifestRef;

/// The annotation that names an image in a layout.
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// containerd's (and docker's) annotation for the whole reference.
pub(super) const CONTAINERD_NAME: &str = "io.containerd.image.name";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LayoutIndex<'a> {
    schema_version: u32,
    media_type: &'a str,
    manifests: Vec<LayoutEntry<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LayoutEntry<'a> {
    media_type: &'a str,
    digest: Digest,
    size: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'a str, String>,
}

/// PURE. An `index.json` of manifests with their names.
pub(super) fn index_json(images: &[(ManifestRef, Vec<Reference>)]) -> Result<Vec<u8>> {
    let mut manifests = Vec::new();
    for (manifest, names) in images {
        let entry = |annotations| LayoutEntry {
            media_type: &manifest.media_type,
            digest: manifest.digest,
            size: manifest.size,
            annotations,
        };
        if names.is_empty() {
            manifests.push(entry(BTreeMap::new()));
        }
        for name in names {
            manifests.push(entry(BTreeMap::from([(REF_NAME, name.to_string()), (CONTAINERD_NAME, name.to_string())])));
        }
    }
    let index = LayoutIndex { schema_version: 2, media_type: OCI_INDEX, manifests };
    serde_json::to_vec(&index).map_err(|e| Error::internal("write an image index").with_source(e))
}

impl Images {
    /// Brings the layout's `index.json` up to what has a name, so that `skopeo copy oci:<root>:<name>` works.
    pub(super) fn write_layout_index(&self) -> Result<()> {
        let mut images: Vec<_> =
            self.list().iter().map(|image| (image.manifest.clone(), image.names.clone())).collect();
        images.sort_by_key(|(manifest, _)| manifest.digest);
        self.content().write_index(&index_json(&images)?)
    }

    /// Takes in the images of an OCI layout directory (the embedded default image) and pins them. Names come from the
    /// annotations of `index.json`.
    ///
    /// # Errors
    /// As [`Images::load`]; `NotFound` when `dir` has no `index.json`.
    pub async fn import_layout(&self, dir: &Path, owner: Owner) -> Result<Vec<LoadedImage>> {
        let dir = dir.to_owned();
        let files = tokio::task::spawn_blocking(move || layout_files(&dir))
            .await
            .map_err(|e| Error::internal("read an image layout").with_source(e))??;
        self.load_files(files, owner, true).await
    }
}

/// Copies a layout's files to where they can be taken over; only regular files under the names a layout has.
fn layout_files(dir: &Path) -> Result<super::archive::SpooledFiles> {
    let root = sys::rooted::RootFd::open(dir).map_err(|e| Error::from(e).context(format!("open {}", dir.display())))?;
    let open = |path: &str| {
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK;
        root.open_file(Path::new(path), flags, rustix::fs::Mode::empty()).map(std::fs::File::from)
    };
    let mut index = Vec::new();
    let file = open("index.json")
        .map_err(|e| Error::new(ErrorKind::NotFound, format!("{}: no index.json", dir.display())).with_source(e))?;
    file.take(MANIFEST_BYTES_MAX as u64).read_to_end(&mut index)?;
    let mut files = BTreeMap::from([("index.json".to_owned(), super::archive::Spooled::from_bytes(index))]);
    for name in sys::rooted::Dir::from_fd(open("blobs/sha256")?.into()).names()? {
        let path = format!("blobs/sha256/{}", name.to_string_lossy());
        let file = open(&path)?;
        if file.metadata()?.is_file() {
            files.insert(path, super::archive::Spooled::from_file(file)?);
        }
    }
    Ok(super::archive::SpooledFiles::new(files))
}
