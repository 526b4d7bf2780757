//! What steps have made before, by the digest of all that went into them.
//!
//! A record holds its layer against sweeps. What is looked up is in memory; use is written down with the next build's
//! own records.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Result;
use crate::id::{Digest, LayerId};
use crate::metadata::tables::build_cache::{self, CacheRecord};
use crate::metadata::{Durability, Store};

use super::spec::{CacheRecordView, PruneCache};

/// Results that are kept: those used longest ago go first.
const RECORDS_MAX: usize = 20_000;

/// All results; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct BuildCache {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    records: Mutex<HashMap<Digest, Entry>>,
}

#[derive(Debug, Clone)]
struct Entry {
    record: CacheRecord,
    /// Its use is not written down yet.
    touched: bool,
}

impl BuildCache {
    /// Reads what is stored.
    pub(crate) fn open(store: Store) -> Result<Self> {
        let rows = store.read(build_cache::all)?;
        let entry = |(key, record)| (key, Entry { record, touched: false });
        let records = Mutex::new(rows.into_iter().map(entry).collect());
        Ok(Self { inner: Arc::new(Inner { store, records }) })
    }

    fn records(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Entry>> {
        self.inner.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All results. From memory.
    pub(crate) fn all(&self) -> Vec<(Digest, CacheRecord)> {
        self.records().iter().map(|(key, entry)| (*key, entry.record.clone())).collect()
    }

    /// The result of a step, which counts as used now.
    pub(super) fn take(&self, key: Digest) -> Option<CacheRecord> {
        let mut records = self.records();
        let entry = records.get_mut(&key)?;
        entry.record.last_used = jiff::Timestamp::now();
        entry.record.uses += 1;
        entry.touched = true;
        Some(entry.record.clone())
    }

    /// Uses that are not written down yet, to be stored with what a build has made.
    pub(super) fn touched(&self) -> Vec<(Digest, CacheRecord)> {
        let mut records = self.records();
        let touched = records.iter_mut().filter(|(_, entry)| entry.touched);
        let taken = |(key, entry): (&Digest, &mut Entry)| {
            entry.touched = false;
            (*key, entry.record.clone())
        };
        touched.map(taken).collect()
    }

    /// Shows results whose rows were just stored.
    pub(super) fn publish(&self, rows: Vec<(Digest, CacheRecord)>) {
        self.records().extend(rows.into_iter().map(|(key, record)| (key, Entry { record, touched: false })));
    }

    /// Forgets results. Their layers are left to the next sweep.
    pub(super) async fn forget(&self, keys: Vec<Digest>) -> Result<()> {
        let stored = keys.clone();
        let remove =
            move |tx: &rusqlite::Transaction<'_>| stored.iter().try_for_each(|key| build_cache::remove(tx, *key));
        self.inner.store.write(Durability::Crash, remove).await?;
        self.records().retain(|key, _| !keys.contains(key));
        Ok(())
    }

    /// Forgets those that were used longest ago while there are too many, or more than `bytes_max` bytes of them.
    pub(super) async fn shrink(&self, bytes_max: u64) -> Result<bool> {
        let mut all = self.all();
        all.sort_by_key(|(_, record)| std::cmp::Reverse(record.last_used));
        let (mut bytes, mut count) = (0_u64, 0);
        let over = |record: &CacheRecord, bytes: &mut u64, count: &mut usize| {
            *bytes = bytes.saturating_add(record.bytes);
            *count += 1;
            *bytes > bytes_max || *count > RECORDS_MAX
        };
        let keys: Vec<Digest> =
            all.iter().filter(|(_, record)| over(record, &mut bytes, &mut count)).map(|(key, _)| *key).collect();
        if keys.is_empty() {
            return Ok(false);
        }
        self.forget(keys).await.map(|()| true)
    }
}

/// Whether a filter takes a result. `shared`: an image has its layer too.
pub(super) fn wanted(filter: &PruneCache, view: &CacheRecordView, now: jiff::Timestamp) -> bool {
    let used = view.last_used.unwrap_or(view.created);
    let unused_for = std::time::Duration::try_from(now.duration_since(used)).unwrap_or_default();
    let old = filter.unused_for.is_none_or(|least| unused_for >= least);
    let named = filter.ids.is_empty() || filter.ids.iter().any(|id| view.id.starts_with(id.as_str()));
    let kind = filter.kinds.is_empty() || filter.kinds.contains(&view.kind);
    old && named && kind && !view.in_use && (filter.all || !view.shared)
}

/// The ids of those to go: everything wanted, beyond the bytes that are to be kept of the most recently used.
pub(super) fn chosen(
    filter: &PruneCache,
    mut views: Vec<CacheRecordView>,
    now: jiff::Timestamp,
) -> Vec<CacheRecordView> {
    views.retain(|view| wanted(filter, view, now));
    views.sort_by_key(|view| std::cmp::Reverse(view.last_used));
    let mut kept = 0_u64;
    let Some(keep) = filter.keep_bytes else { return views };
    views.retain(|view| {
        kept = kept.saturating_add(view.bytes);
        kept > keep
    });
    views
}

/// A result as it is listed. `images` are the layers that images have.
pub(super) fn view(key: Digest, record: &CacheRecord, images: &HashSet<LayerId>) -> CacheRecordView {
    CacheRecordView {
        id: key.hex()[..25].to_owned(),
        kind: "regular".to_owned(),
        description: record.description.clone(),
        parents: Vec::new(),
        in_use: false,
        shared: images.contains(&record.layer.diff_id),
        bytes: record.bytes,
        created: record.created,
        last_used: Some(record.last_used),
        uses: record.uses,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(id: &str, minutes_ago: i64, bytes: u64, shared: bool) -> CacheRecordView {
        let used = jiff::Timestamp::from_second(1_000_000 - minutes_ago * 60).unwrap();
        CacheRecordView {
            id: id.to_owned(),
            kind: "regular".to_owned(),
            description: String::new(),
            parents: Vec::new(),
            in_use: false,
            shared,
            bytes,
            created: used,
            last_used: Some(used),
            uses: 1,
        }
    }

    fn pruned(filter: &PruneCache) -> String {
        let now = jiff::Timestamp::from_second(1_000_000).unwrap();
        let views = vec![view("a", 1, 10, false), view("b", 60, 10, true), view("c", 120, 10, false)];
        let mut ids: Vec<String> = chosen(filter, views, now).into_iter().map(|view| view.id).collect();
        ids.sort();
        ids.concat()
    }

    #[test]
    fn filters_choose_what_goes() {
        let all = || PruneCache { all: true, ..PruneCache::default() };
        assert_eq!(pruned(&PruneCache::default()), "ac", "what an image has stays");
        assert_eq!(pruned(&all()), "abc");
        let hour = Some(std::time::Duration::from_secs(3600));
        assert_eq!(pruned(&PruneCache { unused_for: hour, ..all() }), "bc");
        assert_eq!(pruned(&PruneCache { keep_bytes: Some(15), ..all() }), "bc", "the newest fits");
        assert_eq!(pruned(&PruneCache { ids: vec!["c".into()], ..all() }), "c");
        assert_eq!(pruned(&PruneCache { kinds: vec!["exec.cachemount".into()], ..all() }), "");
    }
}
