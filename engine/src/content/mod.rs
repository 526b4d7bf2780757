//! The content store: blobs by digest in an OCI image layout on disk, which `skopeo oci:` and `oras` can read.
//!
//! ```text
//! <root>/oci-layout             {"imageLayoutVersion":"1.0.0"}
//! <root>/index.json             the images that have a name; rewritten when names change
//! <root>/blobs/sha256/<hex>     whole, verified blobs
//! <root>/ingest/<hex>           downloads in progress; their length says how far they are
//! <root>/ingest/tmp-*           small blobs and loaded archives being written; of no use after a crash
//! ```
//!
//! A blob exists when its row exists: bytes are verified, synced and renamed first. What has a file and no row, or a row
//! and no file, is cleared away when the store is opened.

mod ingest;
mod sync;

use std::collections::HashMap;
use std::fs::{DirBuilder, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use crate::error::{Error, ErrorKind, Result};
use crate::id::Digest;
use crate::metadata::tables::blob::{self, BlobRow};
use crate::metadata::{Durability, Store};

pub(crate) use ingest::Ingest;
pub(crate) use sync::Syncer;

const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// What is known of a blob without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobInfo {
    /// Bytes.
    pub size: u64,
    /// What it was fetched as.
    pub media_type: String,
    /// Unix seconds.
    pub created: i64,
}

/// The blobs of this engine; cheap to clone.
#[derive(Debug, Clone)]
pub struct ContentStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    root: PathBuf,
    blobs: RwLock<HashMap<Digest, BlobInfo>>,
}

impl ContentStore {
    /// Opens or makes the layout at `root` and clears away what is half there.
    ///
    /// # Errors
    /// `Internal` when the directory cannot be made or the database cannot be read.
    pub async fn open(store: Store, root: &Path) -> Result<Self> {
        for dir in ["blobs/sha256", "ingest"] {
            make_private_dir(&root.join(dir))?;
        }
        write_atomically(root, "oci-layout", OCI_LAYOUT)?;
        let mut blobs = HashMap::new();
        let mut lost = Vec::new();
        for row in store.read(blob::all)? {
            let whole = std::fs::metadata(blob_path(root, row.digest)).is_ok_and(|m| m.len() == row.size);
            if whole {
                blobs.insert(row.digest, BlobInfo { size: row.size, media_type: row.media_type, created: row.created });
            } else {
                tracing::warn!(digest = %row.digest, "a recorded blob is missing or cut off; forgetting it");
                lost.push(row.digest);
            }
        }
        if !lost.is_empty() {
            store
                .write(Durability::Crash, move |tx| lost.into_iter().try_for_each(|digest| blob::remove(tx, digest)))
                .await?;
        }
        clear_unrecorded(root, &blobs)?;
        Ok(Self { inner: Arc::new(Inner { store, root: root.to_owned(), blobs: RwLock::new(blobs) }) })
    }

    /// Where the layout is.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// What is known of a blob; `None` if it is not here. From memory.
    pub fn info(&self, digest: Digest) -> Option<BlobInfo> {
        self.inner.blobs.read().unwrap_or_else(PoisonError::into_inner).get(&digest).cloned()
    }

    /// All blobs. From memory.
    pub fn list(&self) -> Vec<(Digest, BlobInfo)> {
        let blobs = self.inner.blobs.read().unwrap_or_else(PoisonError::into_inner);
        blobs.iter().map(|(digest, info)| (*digest, info.clone())).collect()
    }

    /// Opens a blob for reading.
    ///
    /// # Errors
    /// `NotFound` when it is not here.
    pub fn open_blob(&self, digest: Digest) -> Result<File> {
        if self.info(digest).is_none() {
            return Err(Error::not_found(format!("blob {digest} is not in the content store")));
        }
        File::open(self.blob_path(digest)).map_err(|e| Error::from(e).context(format!("open blob {digest}")))
    }

    /// A small blob's bytes, checked against its digest.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` when it is longer than `bytes_max`; `Internal` when the disk has other bytes.
    pub fn read(&self, digest: Digest, bytes_max: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open_blob(digest)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > bytes_max {
            return Err(Error::invalid(format!("blob {digest} is longer than {bytes_max} bytes")));
        }
        if Digest::of(&bytes) != digest {
            return Err(Error::internal(format!("blob {digest} is damaged on disk")));
        }
        Ok(bytes)
    }

    /// Stores a small blob: written, synced, renamed, recorded.
    ///
    /// # Errors
    /// `ResourceExhausted` when the disk is full.
    pub async fn put(&self, bytes: Vec<u8>, media_type: &str) -> Result<Digest> {
        let digest = Digest::of(&bytes);
        if self.info(digest).is_some() {
            return Ok(digest);
        }
        let (this, size) = (self.clone(), bytes.len() as u64);
        tokio::task::spawn_blocking(move || {
            let temporary = this.inner.root.join(format!("ingest/tmp-{}", random_name()));
            let written = write_synced(&temporary, &bytes);
            let renamed = written.and_then(|()| Ok(std::fs::rename(&temporary, this.blob_path(digest))?));
            renamed.inspect_err(|_| drop(std::fs::remove_file(&temporary)))
        })
        .await
        .map_err(|e| Error::internal("write a blob").with_source(e))??;
        self.record(vec![self.row(digest, size, media_type)]).await?;
        Ok(digest)
    }

    /// A row for a blob that is whole, synced and in its place.
    pub(crate) fn row(&self, digest: Digest, size: u64, media_type: &str) -> BlobRow {
        BlobRow { digest, size, media_type: media_type.to_owned(), created: jiff::Timestamp::now().as_second() }
    }

    /// Records blobs and makes them visible.
    pub(crate) async fn record(&self, rows: Vec<BlobRow>) -> Result<()> {
        let stored = rows.clone();
        self.inner
            .store
            .write(Durability::Crash, move |tx| stored.iter().try_for_each(|row| blob::put(tx, row)))
            .await?;
        self.publish(rows);
        Ok(())
    }

    /// Makes blobs visible whose rows somebody has just stored with rows of their own.
    pub(crate) fn publish(&self, rows: Vec<BlobRow>) {
        let mut blobs = self.inner.blobs.write().unwrap_or_else(PoisonError::into_inner);
        for row in rows {
            let info = BlobInfo { size: row.size, media_type: row.media_type, created: row.created };
            blobs.entry(row.digest).or_insert(info);
        }
    }

    /// Removes a blob: the row first, so that no row is without a file. Answers its bytes.
    pub(crate) async fn remove(&self, digest: Digest) -> Result<u64> {
        let Some(info) = self.info(digest) else { return Ok(0) };
        self.inner.store.write(Durability::Crash, move |tx| blob::remove(tx, digest)).await?;
        self.inner.blobs.write().unwrap_or_else(PoisonError::into_inner).remove(&digest);
        remove_file_if_there(&self.blob_path(digest))?;
        Ok(info.size)
    }

    /// Where a blob is or will be.
    pub(crate) fn blob_path(&self, digest: Digest) -> PathBuf {
        blob_path(&self.inner.root, digest)
    }

    /// A new directory for files of one piece of work; gone when dropped, or at the next start.
    pub(crate) fn scratch(&self) -> Result<Scratch> {
        let path = self.inner.root.join(format!("ingest/tmp-{}", random_name()));
        make_private_dir(&path)?;
        Ok(Scratch { path })
    }

    /// Puts a file that was hashed on the way in its place as a blob; neither synced nor recorded.
    pub(crate) fn adopt(&self, file: &Path, digest: Digest) -> Result<()> {
        let target = self.blob_path(digest);
        std::fs::rename(file, target).map_err(|e| Error::from(e).context(format!("place blob {digest}")))
    }

    /// Writes the layout's index; a reader sees the old one or the new one.
    pub(crate) fn write_index(&self, index: &[u8]) -> Result<()> {
        write_atomically(&self.inner.root, "index.json", index)
    }
}

/// A directory that goes when its owner does.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a scratch directory");
        }
    }
}

fn blob_path(root: &Path, digest: Digest) -> PathBuf {
    root.join("blobs/sha256").join(digest.hex())
}

pub(crate) fn random_name() -> String {
    crate::id::ContainerId::random().short().to_owned()
}

/// Makes a directory and its parents, open to root only.
pub(crate) fn make_private_dir(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| Error::from(e).context(format!("make {}", path.display())))
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    Ok(file.sync_all()?)
}

fn write_atomically(root: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = root.join(name);
    if std::fs::read(&path).is_ok_and(|now| now == bytes) {
        return Ok(());
    }
    let temporary = root.join("ingest").join(format!("tmp-{}", random_name()));
    std::fs::write(&temporary, bytes)?;
    std::fs::rename(&temporary, &path).map_err(|e| Error::from(e).context(format!("write {}", path.display())))
}

pub(crate) fn remove_file_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::from(error).context(format!("remove {}", path.display())))
        }
        _ => Ok(()),
    }
}

/// Removes blob files without a row, and what was being written when the daemon ended and cannot be resumed.
fn clear_unrecorded(root: &Path, blobs: &HashMap<Digest, BlobInfo>) -> Result<()> {
    for entry in std::fs::read_dir(root.join("blobs/sha256"))? {
        let entry = entry?;
        let name = entry.file_name();
        let digest = name.to_str().and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
        if digest.is_none_or(|digest| !blobs.contains_key(&digest)) {
            tracing::info!(file = %entry.path().display(), "removing a blob that was never recorded");
            remove_file_if_there(&entry.path())?;
        }
    }
    for entry in std::fs::read_dir(root.join("ingest"))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("tmp-") {
            let removed = if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())
            } else {
                std::fs::remove_file(entry.path())
            };
            removed.map_err(|e| {
                Error::new(ErrorKind::Internal, format!("remove {}", entry.path().display())).with_source(e)
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn open(dir: &Path) -> ContentStore {
        ContentStore::open(Store::open(&dir.join("meta.db")).unwrap(), &dir.join("content")).await.unwrap()
    }

    #[tokio::test]
    async fn a_blob_is_there_again_after_a_restart_and_rubbish_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let content = open(dir.path()).await;
        let kept = content.put(b"kept".to_vec(), "text/plain").await.unwrap();
        let lost = content.put(b"lost".to_vec(), "text/plain").await.unwrap();
        let cut = content.put(b"cut off".to_vec(), "text/plain").await.unwrap();
        std::fs::remove_file(content.blob_path(lost)).unwrap();
        std::fs::write(content.blob_path(cut), b"cut").unwrap();
        let stray = Digest::of(b"stray");
        std::fs::write(content.blob_path(stray), b"stray").unwrap();
        let scratch = content.root().join("ingest/tmp-x");
        std::fs::create_dir(&scratch).unwrap();
        drop(content);

        let content = open(dir.path()).await;
        assert_eq!(content.read(kept, 100).unwrap(), b"kept");
        assert!(content.info(lost).is_none() && content.info(cut).is_none() && content.info(stray).is_none());
        assert!(!content.blob_path(stray).exists() && !content.blob_path(cut).exists() && !scratch.exists());
        assert_eq!(content.read(lost, 100).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn damaged_and_oversize_blobs_are_not_handed_out() {
        let dir = tempfile::tempdir().unwrap();
        let content = open(dir.path()).await;
        let digest = content.put(b"good".to_vec(), "text/plain").await.unwrap();
        assert_eq!(content.read(digest, 3).unwrap_err().kind(), ErrorKind::InvalidArgument);
        std::fs::write(content.blob_path(digest), b"evil").unwrap();
        assert_eq!(content.read(digest, 100).unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(content.remove(digest).await.unwrap(), 4);
        assert!(content.info(digest).is_none() && !content.blob_path(digest).exists());
    }
}
