//! A download in progress: a file that grows, is re-hashed when opened again, and becomes a blob when whole.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use sha2::Digest as _;

use crate::error::{Error, ErrorKind, Result};
use crate::id::Digest;
use crate::metadata::Durability;
use crate::metadata::tables::ingest::{self, IngestRecord, IngestRow};

use super::{ContentStore, remove_file_if_there};

/// Bytes read at a time when an ingest is opened again.
const REREAD_BYTES: usize = 256 << 10;

/// One download. Only one may be open for a digest at a time: the caller sees to that.
#[derive(Debug)]
pub(crate) struct Ingest {
    content: ContentStore,
    digest: Digest,
    media_type: String,
    size: u64,
    path: PathBuf,
    file: File,
    hash: sha2::Sha256,
    /// Bytes written, hashed or not.
    offset: u64,
    /// Bytes of them that were there when it was opened and are not hashed yet.
    unread: u64,
}

impl Ingest {
    /// Begins or resumes the download of `digest`, which is `size` bytes.
    pub(crate) async fn open(content: &ContentStore, digest: Digest, size: u64, media_type: &str) -> Result<Self> {
        let key = digest.hex();
        let path = content.inner.root.join("ingest").join(&key);
        let record = IngestRecord { v: 1, size, media_type: media_type.to_owned() };
        let row = IngestRow { key, digest, record, updated: jiff::Timestamp::now().as_second() };
        content.inner.store.write(Durability::Crash, move |tx| ingest::put(tx, &row)).await?;
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path)?;
        let mut offset = file.metadata()?.len();
        if offset > size {
            file.set_len(0)?;
            offset = 0;
        }
        let media_type = media_type.to_owned();
        let hash = sha2::Sha256::new();
        Ok(Self { content: content.clone(), digest, media_type, size, path, file, hash, offset, unread: offset })
    }

    /// Bytes that are here already: where the download goes on.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next of the bytes that were here when it was opened; empty when all were read. To be read before any write.
    pub(crate) fn reread(&mut self) -> Result<Vec<u8>> {
        use std::os::unix::fs::FileExt as _;
        let take = usize::try_from(self.unread.min(REREAD_BYTES as u64)).unwrap_or(REREAD_BYTES);
        let mut piece = vec![0; take];
        self.file.read_exact_at(&mut piece, self.offset - self.unread)?;
        self.unread -= take as u64;
        self.hash.update(&piece);
        Ok(piece)
    }

    /// Appends bytes. Blocking.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        debug_assert_eq!(self.unread, 0, "reread first");
        if self.offset + bytes.len() as u64 > self.size {
            return Err(Error::invalid(format!("blob {} is longer than its {} bytes", self.digest, self.size)));
        }
        self.file.write_all(bytes).map_err(|e| Error::from(e).context(format!("write blob {}", self.digest)))?;
        self.hash.update(bytes);
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Compares length and digest.
    ///
    /// # Errors
    /// `InvalidArgument` when it is not what was asked for; the file is removed then.
    pub(crate) fn verify(&mut self) -> Result<()> {
        let actual = Digest::from_bytes(std::mem::take(&mut self.hash).finalize().into());
        if self.offset != self.size || actual != self.digest {
            remove_file_if_there(&self.path)?;
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "filesystem layer verification failed for digest {}: got {} bytes with digest {actual}",
                    self.digest, self.offset
                ),
            ));
        }
        Ok(())
    }

    /// Puts the verified file in its place as a blob, neither synced nor recorded.
    pub(crate) fn place(&self) -> Result<()> {
        Ok(std::fs::rename(&self.path, self.content.blob_path(self.digest))?)
    }

    /// The row to record once the blob is synced.
    pub(crate) fn row(&self) -> crate::metadata::tables::blob::BlobRow {
        self.content.row(self.digest, self.size, &self.media_type)
    }
}

impl ContentStore {
    /// Forgets a download and what there is of it.
    pub(crate) async fn abandon(&self, digest: Digest) -> Result<()> {
        let key = digest.hex();
        remove_file_if_there(&self.inner.root.join("ingest").join(&key))?;
        self.inner.store.write(Durability::Crash, move |tx| ingest::remove(tx, &key)).await
    }

    /// Downloads that were last touched before `before` (unix seconds) and are not in `busy`: removed. Answers how many.
    pub(crate) async fn abandon_stale(&self, before: i64, busy: &std::collections::HashSet<Digest>) -> Result<usize> {
        // Names before rows: a download's row is older than its file, so one that begins meanwhile is not an orphan.
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.inner.root.join("ingest"))? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        let rows = self.inner.store.read(ingest::all)?;
        let mut count = 0;
        for row in rows.iter().filter(|row| row.updated < before && !busy.contains(&row.digest)) {
            self.abandon(row.digest).await?;
            count += 1;
        }
        for name in names {
            if !name.starts_with("tmp-") && !rows.iter().any(|row| row.key == name) {
                remove_file_if_there(&self.inner.root.join("ingest").join(&name))?;
                count += 1;
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Store;

    #[tokio::test]
    async fn a_download_goes_on_where_it_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("meta.db")).unwrap();
        let content = ContentStore::open(store, &dir.path().join("c")).await.unwrap();
        let bytes = vec![7_u8; 600_000];
        let digest = Digest::of(&bytes);
        let mut first = Ingest::open(&content, digest, 600_000, "x").await.unwrap();
        first.write(&bytes[..400_000]).unwrap();
        drop(first);
        let mut second = Ingest::open(&content, digest, 600_000, "x").await.unwrap();
        assert_eq!(second.offset(), 400_000);
        let mut seen = 0;
        loop {
            let piece = second.reread().unwrap();
            if piece.is_empty() {
                break;
            }
            seen += piece.len();
        }
        assert_eq!(seen, 400_000);
        second.write(&bytes[400_000..]).unwrap();
        second.verify().unwrap();
        second.place().unwrap();
        assert_eq!(std::fs::read(content.blob_path(digest)).unwrap(), bytes);
    }

    #[tokio::test]
    async fn other_bytes_and_too_many_bytes_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("meta.db")).unwrap();
        let content = ContentStore::open(store, &dir.path().join("c")).await.unwrap();
        let digest = Digest::of(b"right");
        let mut wrong = Ingest::open(&content, digest, 5, "x").await.unwrap();
        wrong.write(b"wrong").unwrap();
        assert_eq!(wrong.verify().unwrap_err().kind(), ErrorKind::InvalidArgument);
        let mut long = Ingest::open(&content, digest, 5, "x").await.unwrap();
        assert_eq!(long.offset(), 0, "the wrong bytes are gone");
        assert!(long.write(b"righter").is_err());
        content.abandon(digest).await.unwrap();
        assert_eq!(std::fs::read_dir(content.root().join("ingest")).unwrap().count(), 0);
    }
}
