//! What each writable layer holds, without a walk while somebody waits: the figure of the last walk is given, and one
//! task renews what is asked for and has become old.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::{SnapshotKey, Snapshotter, Usage};
use crate::error::ErrorKind;

/// A figure younger than this is not renewed: the kubelet asks every ten seconds.
const FRESH: Duration = Duration::from_secs(10);
/// A figure is also kept for so many times the time that the walk took, so that walks take a small share of the disk.
const WALKS_SHARE: u32 = 20;
/// Layers that wait for a walk; others are taken when they are asked for again.
const QUEUED_MAX: usize = 4096;
/// How long the first figure of a layer is waited for.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The figure of one walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// What was counted.
    pub usage: Usage,
    /// When, ns since 1970.
    pub time_ns: i64,
}

#[derive(Debug)]
struct Entry {
    figure: watch::Sender<Option<Measured>>,
    renew_at: Instant,
    queued: bool,
}

type Entries = Mutex<HashMap<SnapshotKey, Entry>>;

/// See the module.
#[derive(Debug)]
pub(crate) struct UsageBook {
    entries: Arc<Entries>,
    queue: mpsc::Sender<SnapshotKey>,
}

impl UsageBook {
    /// Starts the task that walks; it ends with the book.
    pub(crate) fn open(snapshots: Arc<dyn Snapshotter>) -> Self {
        let (queue, keys) = mpsc::channel(QUEUED_MAX);
        let entries: Arc<Entries> = Arc::default();
        tokio::spawn(walk(Arc::downgrade(&entries), snapshots, keys));
        Self { entries, queue }
    }

    /// What a layer held when it was last counted; `None` when it has not been counted within a moment.
    pub(crate) async fn usage(&self, key: &SnapshotKey) -> Option<Measured> {
        let mut figure = {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            let entry = entries.entry(key.clone()).or_insert_with(|| Entry {
                figure: watch::Sender::new(None),
                renew_at: Instant::now(),
                queued: false,
            });
            if !entry.queued && entry.renew_at <= Instant::now() {
                entry.queued = self.queue.try_send(key.clone()).is_ok();
            }
            entry.figure.subscribe()
        };
        let known = *figure.borrow_and_update();
        if known.is_some() {
            return known;
        }
        let first = tokio::time::timeout(FIRST_WAIT, figure.wait_for(Option::is_some)).await;
        first.ok()?.ok().and_then(|figure| *figure)
    }

    /// Forgets a layer that is gone.
    pub(crate) fn forget(&self, key: &SnapshotKey) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

async fn walk(entries: Weak<Entries>, snapshots: Arc<dyn Snapshotter>, mut keys: mpsc::Receiver<SnapshotKey>) {
    while let Some(key) = keys.recv().await {
        let begun = Instant::now();
        let counted = snapshots.usage(&key).await;
        let Some(entries) = entries.upgrade() else { return };
        let mut entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
        // What was forgotten meanwhile stays so.
        let Some(entry) = entries.get_mut(&key) else { continue };
        entry.queued = false;
        entry.renew_at = Instant::now() + FRESH.max(begun.elapsed() * WALKS_SHARE);
        match counted {
            Ok(usage) => {
                let time_ns = crate::event::now_ns();
                entry.figure.send_replace(Some(Measured { usage, time_ns }));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => drop(entries.remove(&key)),
            Err(error) => tracing::debug!(snapshot = %key, %error, "a writable layer could not be counted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Store;
    use crate::snapshot::Overlay;

    #[tokio::test]
    async fn a_figure_is_kept_until_it_is_old_and_forgotten_with_its_layer() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("meta.db")).unwrap();
        let overlay = Overlay::open(store, &dir.path().join("snapshots")).await.unwrap();
        let key: SnapshotKey = "one".parse().unwrap();
        overlay.prepare(&key, &[]).await.unwrap();
        let book = UsageBook::open(Arc::new(overlay.clone()));
        let first = book.usage(&key).await.unwrap();
        assert_eq!(first.usage, overlay.usage(&key).await.unwrap());
        let upper = overlay.upper_dir(&key).unwrap().unwrap();
        std::fs::write(upper.join("file"), vec![1; 100_000]).unwrap();
        assert_eq!(book.usage(&key).await, Some(first), "not walked again while it is fresh");
        book.entries.lock().unwrap().get_mut(&key).unwrap().renew_at = Instant::now();
        let renewed = async {
            while book.usage(&key).await == Some(first) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), renewed).await.unwrap();
        assert_eq!(book.usage(&key).await.unwrap().usage, overlay.usage(&key).await.unwrap());
        book.forget(&key);
        overlay.remove(&key).await.unwrap();
        assert_eq!(book.usage(&key).await, None);
    }
}
