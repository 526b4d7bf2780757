//! What the cache of builds holds, and taking it away.

use std::collections::HashSet;

use crate::engine::Engine;
use crate::error::Result;
use crate::id::LayerId;

use super::cache::{chosen, view};
use super::source::blocking;
use super::spec::{CacheRecordView, PruneCache, PrunedCache};

impl Engine {
    /// Everything in the cache of builds: results of steps, directories of cache mounts and kept directories of clients,
    /// whose bytes are counted now.
    ///
    /// # Errors
    /// `Internal` when directories cannot be read.
    pub async fn build_cache_usage(&self) -> Result<Vec<CacheRecordView>> {
        let core = self.core_arc();
        let of_images: HashSet<LayerId> = core.images.list().iter().flat_map(|image| image.layers.clone()).collect();
        let mut seen = HashSet::new();
        let mut all: Vec<CacheRecordView> = core
            .images
            .build_cache()
            .all()
            .iter()
            .map(|(key, record)| {
                let mut one = view(*key, record, &of_images);
                // Bytes of a layer that several steps have made count once.
                if !seen.insert(record.layer.diff_id) {
                    one.bytes = 0;
                }
                one
            })
            .collect();
        let core = std::sync::Arc::clone(core);
        let kept = move || {
            let mut kept = core.builder.cache_mounts.list();
            kept.extend(core.sources.list());
            Ok(kept)
        };
        all.extend(blocking(kept).await?);
        all.sort_by_key(|view| std::cmp::Reverse(view.last_used));
        Ok(all)
    }

    /// Takes results, cache mounts and kept directories away.
    ///
    /// # Errors
    /// The first thing that cannot be removed; the rest stays for the next time.
    pub async fn prune_build_cache(&self, filter: PruneCache) -> Result<PrunedCache> {
        let core = self.core_arc();
        let going = chosen(&filter, self.build_cache_usage().await?, jiff::Timestamp::now());
        let ids: HashSet<String> = going.iter().map(|view| view.id.clone()).collect();
        let cache = core.images.build_cache();
        let keys = cache.all().into_iter().map(|(key, _)| key).filter(|key| ids.contains(&key.hex()[..25])).collect();
        cache.forget(keys).await?;
        let of_kind = |kind: &str| -> Vec<String> {
            going.iter().filter(|view| view.kind == kind).map(|view| view.id.clone()).collect()
        };
        let (mounts, sources) = (of_kind("exec.cachemount"), of_kind("source.local"));
        let work = std::sync::Arc::clone(core);
        let remove = move || {
            let mut removed = work.builder.cache_mounts.remove(&mounts)?;
            removed.extend(sources.into_iter().filter(|name| work.sources.remove(name)));
            Ok(removed)
        };
        let removed = blocking(remove).await?;
        let gone = |view: &&CacheRecordView| view.kind == "regular" || removed.contains(&view.id);
        let mut pruned = PrunedCache::default();
        for view in going.iter().filter(gone) {
            pruned.ids.push(view.id.clone());
            // What an image has stays on disk.
            pruned.bytes += if view.shared { 0 } else { view.bytes };
        }
        core.images.sweep().await?;
        Ok(pruned)
    }
}
