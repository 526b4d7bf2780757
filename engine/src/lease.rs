//! Leases: what keeps work in flight alive until it is recorded or given up.
//!
//! A pull holds its blobs and layers by a lease from the moment it knows them: a sweep passes them over. A lease that is
//! let go expires after a while, not at once, so that a pull that failed half-way finds its layers again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::error::Result;
use crate::id::{Digest, LayerId};
use crate::metadata::tables::lease::{self, LeaseRecord, LeaseRow};
use crate::metadata::{Durability, Store};

/// How long a lease holds if nobody ends it: longer than any single pull.
const LEASE_LIFE: Duration = Duration::from_secs(24 * 3600);

/// All leases; cheap to clone.
#[derive(Debug, Clone)]
pub struct Leases {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    rows: Mutex<HashMap<String, LeaseRow>>,
    /// Leases of work that was interrupted: nobody releases them, they wait for the next attempt.
    interrupted: Mutex<HashSet<String>>,
}

/// One lease. Dropped without [`Lease::release`] it holds on until it expires by itself.
#[derive(Debug)]
pub struct Lease {
    leases: Leases,
    id: String,
}

/// What this process alone holds, and only in memory: what it has made and not recorded is cleared away after a crash
/// anyway. Dropping it lets go.
#[derive(Debug)]
pub(crate) struct Hold {
    leases: Leases,
    id: String,
}

impl Hold {
    /// Holds these too, from now on. What is here already can only be held under the sweep's gate.
    pub(crate) fn add(&self, blobs: impl IntoIterator<Item = Digest>, layers: impl IntoIterator<Item = LayerId>) {
        let mut rows = self.leases.inner.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = rows.get_mut(&self.id) {
            row.record.blobs.extend(blobs);
            row.record.layers.extend(layers);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.leases.inner.rows.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Leases {
    /// A hold on nothing yet.
    pub(crate) fn hold(&self, purpose: &str) -> Hold {
        let id = crate::id::ContainerId::random().to_string();
        let record = LeaseRecord { v: 1, purpose: purpose.to_owned(), blobs: Vec::new(), layers: Vec::new() };
        let row = LeaseRow { id: id.clone(), expires: i64::MAX, record };
        self.inner.rows.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), row);
        Hold { leases: self.clone(), id }
    }

    /// Reads the stored leases. Those of an earlier daemon end after `keep`, because the work is not going on.
    ///
    /// # Errors
    /// `Internal` when the database cannot be read.
    pub async fn open(store: Store, keep: Duration) -> Result<Self> {
        let latest = deadline(keep);
        let mut rows = HashMap::new();
        for mut row in store.read(lease::all)? {
            row.expires = row.expires.min(latest);
            rows.insert(row.id.clone(), row);
        }
        let stored: Vec<LeaseRow> = rows.values().cloned().collect();
        store.write(Durability::Crash, move |tx| stored.iter().try_for_each(|row| lease::put(tx, row))).await?;
        let interrupted = Mutex::new(rows.keys().cloned().collect());
        Ok(Self { inner: Arc::new(Inner { store, rows: Mutex::new(rows), interrupted }) })
    }

    /// A new lease that holds `blobs` and `layers`.
    ///
    /// # Errors
    /// `Internal` when it cannot be stored.
    pub async fn create(&self, purpose: &str, blobs: Vec<Digest>, layers: Vec<LayerId>) -> Result<Lease> {
        let id = crate::id::ContainerId::random().to_string();
        let record = LeaseRecord { v: 1, purpose: purpose.to_owned(), blobs, layers };
        let row = LeaseRow { id: id.clone(), expires: deadline(LEASE_LIFE), record };
        self.put(row).await?;
        Ok(Lease { leases: self.clone(), id })
    }

    /// Everything that is held now.
    pub fn held(&self) -> Vec<LeaseRecord> {
        let now = jiff::Timestamp::now().as_second();
        let rows = self.inner.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.values().filter(|row| row.expires > now).map(|row| row.record.clone()).collect()
    }

    /// Forgets leases that hold nothing any more. Answers how many.
    ///
    /// # Errors
    /// `Internal` when the database cannot be written.
    pub async fn sweep(&self) -> Result<usize> {
        let now = jiff::Timestamp::now().as_second();
        let ended: Vec<String> = {
            let rows = self.inner.rows.lock().unwrap_or_else(PoisonError::into_inner);
            rows.values().filter(|row| row.expires <= now).map(|row| row.id.clone()).collect()
        };
        for id in &ended {
            self.remove(id).await?;
        }
        Ok(ended.len())
    }

    async fn put(&self, row: LeaseRow) -> Result<()> {
        let stored = row.clone();
        // In memory first: a sweep that begins now must see it.
        self.inner.rows.lock().unwrap_or_else(PoisonError::into_inner).insert(row.id.clone(), row);
        self.inner.store.write(Durability::Crash, move |tx| lease::put(tx, &stored)).await
    }

    async fn remove(&self, id: &str) -> Result<()> {
        let key = id.to_owned();
        self.inner.store.write(Durability::Crash, move |tx| lease::remove(tx, &key)).await?;
        self.inner.rows.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        self.inner.interrupted.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        Ok(())
    }

    /// Interrupted leases that hold nothing but what `id` holds.
    fn superseded_by(&self, id: &str) -> Vec<String> {
        let rows = self.inner.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(done) = rows.get(id) else { return Vec::new() };
        let interrupted = self.inner.interrupted.lock().unwrap_or_else(PoisonError::into_inner);
        let within = |row: &LeaseRow| {
            row.record.blobs.iter().all(|blob| done.record.blobs.contains(blob))
                && row.record.layers.iter().all(|layer| done.record.layers.contains(layer))
        };
        rows.values().filter(|row| interrupted.contains(&row.id) && within(row)).map(|row| row.id.clone()).collect()
    }
}

impl Lease {
    /// The work is recorded, or nothing of it is to be kept: the lease ends.
    ///
    /// # Errors
    /// `Internal` when the database cannot be written.
    pub async fn release(self) -> Result<()> {
        self.leases.remove(&self.id).await
    }

    /// The work is recorded: the lease ends, and so do those of earlier attempts at it that were interrupted.
    ///
    /// # Errors
    /// `Internal` when the database cannot be written.
    pub async fn finish(self) -> Result<()> {
        for earlier in self.leases.superseded_by(&self.id) {
            self.leases.remove(&earlier).await?;
        }
        self.release().await
    }

    /// The work was interrupted: what there is of it is held for `keep`.
    ///
    /// # Errors
    /// `Internal` when the database cannot be written.
    pub async fn keep_for(self, keep: Duration) -> Result<()> {
        let row = {
            let rows = self.leases.inner.rows.lock().unwrap_or_else(PoisonError::into_inner);
            rows.get(&self.id).cloned()
        };
        let Some(mut row) = row else { return Ok(()) };
        row.expires = deadline(keep);
        self.leases.inner.interrupted.lock().unwrap_or_else(PoisonError::into_inner).insert(self.id.clone());
        self.leases.put(row).await
    }
}

fn deadline(from_now: Duration) -> i64 {
    jiff::Timestamp::now().as_second().saturating_add_unsigned(from_now.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lease_holds_until_released_and_survives_a_restart_for_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meta.db");
        let leases = Leases::open(Store::open(&path).unwrap(), Duration::from_secs(60)).await.unwrap();
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let kept = leases.create("test", vec![a], vec![]).await.unwrap();
        let released = leases.create("test", vec![b], vec![]).await.unwrap();
        released.release().await.unwrap();
        drop(kept);
        drop(leases);
        let leases = Leases::open(Store::open(&path).unwrap(), Duration::from_secs(60)).await.unwrap();
        assert_eq!(leases.held().iter().flat_map(|r| r.blobs.clone()).collect::<Vec<_>>(), [a]);
        let leases = Leases::open(Store::open(&path).unwrap(), Duration::ZERO).await.unwrap();
        assert!(leases.held().is_empty());
        assert_eq!(leases.sweep().await.unwrap(), 1);
    }
}
