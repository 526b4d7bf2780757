//! Making files durable: one `syncfs` for all who wait at the same time.
//!
//! A layer is thousands of files; an `fsync` of each is a journal commit of each. One `syncfs` of the file system is one
//! commit: 0.07 s against 1.9 s for 1,000 files of 20 kB on ext4. It also writes what others have dirtied there, which is why those who come while one is running share the
//! next, instead of queueing for one each.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use crate::error::{Error, Result};

/// Syncs one file system; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Syncer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: File,
    /// Syncs begun so far.
    begun: AtomicU64,
    /// The number of the last sync that ended well.
    finished: Mutex<u64>,
}

impl Syncer {
    /// For the file system that `directory` is on.
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let directory = File::open(directory)?;
        Ok(Self { inner: Arc::new(Inner { directory, begun: AtomicU64::new(0), finished: Mutex::new(0) }) })
    }

    /// Returns when everything that was written before the call is on disk.
    ///
    /// # Errors
    /// `ResourceExhausted` or `Internal` when the kernel could not write something.
    pub(crate) async fn sync(&self) -> Result<()> {
        // A sync that begins after this point covers the caller; one that runs already may not.
        let wanted = self.inner.begun.load(Ordering::SeqCst) + 1;
        let mut finished = self.inner.finished.lock().await;
        if *finished >= wanted {
            return Ok(());
        }
        let number = self.inner.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || rustix::fs::syncfs(&inner.directory).map_err(std::io::Error::from))
            .await
            .map_err(|e| Error::internal("sync layers to disk").with_source(e))?
            .map_err(|e| Error::from(e).context("sync layers to disk"))?;
        *finished = number;
        Ok(())
    }
}
