//! The layers of one build: made of what a step has written, held until the build is over, recorded all at once.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FileType, Timespec, Timestamps};
use sys::rooted::{Dir, RootFd};

use crate::archive::pack::{Marks, Packer};
use crate::content::Scratch;
use crate::engine::Core;
use crate::error::{Error, Result};
use crate::id::{Digest, LayerId};
use crate::image::{Hashed, LayerRef};
use crate::lease::Hold;
use crate::metadata::Durability;
use crate::metadata::tables::blob::{self, BlobRow};
use crate::metadata::tables::build_cache::{self, CacheRecord};
use crate::metadata::tables::layer::{self, LayerRow};
use crate::snapshot::SnapshotKey;

/// The type of a layer that is not compressed.
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
/// Bytes of a layer's tar written at a time.
const WRITE_BYTES: usize = 128 << 10;

/// What a build has made so far and not recorded.
#[derive(Debug, Default)]
struct Made {
    blobs: Vec<BlobRow>,
    layers: Vec<LayerRow>,
    cached: Vec<(Digest, CacheRecord)>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Layers {
    core: Arc<Core>,
    hold: Hold,
    scratch: Scratch,
    made: Mutex<Made>,
    /// The latest time in a layer, unix seconds.
    latest: Option<i64>,
}

impl Layers {
    pub(super) fn begin(core: &Arc<Core>, latest: Option<i64>) -> Result<Self> {
        let hold = core.images.leases().hold("build");
        let scratch = core.images.content().scratch()?;
        Ok(Self { core: Arc::clone(core), hold, scratch, made: Mutex::default(), latest })
    }

    /// Where the build may write what goes with it.
    pub(super) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    fn made(&self) -> std::sync::MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds layers that are here; `false`, and nothing is held, when one of them is not.
    pub(super) async fn hold(&self, layers: &[LayerRef]) -> bool {
        let images = &self.core.images;
        let _gate = images.overlay().gate().read().await;
        let here = |layer: &LayerRef| {
            images.overlay().layer(layer.diff_id).is_some() && images.content().info(layer.digest).is_some()
        };
        if !layers.iter().all(here) {
            return false;
        }
        self.hold.add(layers.iter().map(|layer| layer.digest), layers.iter().map(|layer| layer.diff_id));
        true
    }

    /// What the cache has for a step, if it is all here.
    pub(super) async fn cached(&self, key: Digest) -> Option<CacheRecord> {
        let record = self.core.images.build_cache().take(key)?;
        self.hold(std::slice::from_ref(&record.layer)).await.then_some(record)
    }

    /// Makes a layer of what was written into a snapshot, which is gone then.
    pub(super) async fn seal(&self, key: &SnapshotKey) -> Result<(LayerRef, u64)> {
        let images = &self.core.images;
        let upper = images.snapshotter().upper_dir(key)?;
        let upper = upper.ok_or_else(|| Error::internal("a build step without a writable layer"))?;
        let file = self.scratch.path().join(key.as_str());
        let (target, latest) = (file.clone(), self.latest);
        let work = move || pack(&upper, &target, latest);
        let packed = tokio::task::spawn_blocking(work).await;
        let (digest, size) = packed.map_err(|e| Error::internal("write a layer").with_source(e))??;
        self.hold.add([digest], [digest]);
        let layer_row = images.overlay().seal(key, digest).await?;
        let bytes = layer_row.record.bytes;
        images.content().adopt(&file, digest)?;
        let blob_row = images.content().row(digest, size, LAYER_TYPE);
        images.content().publish(vec![blob_row.clone()]);
        images.overlay().publish(layer_row.clone());
        let mut made = self.made();
        made.blobs.push(blob_row);
        made.layers.push(layer_row);
        Ok((LayerRef { digest, size, media_type: LAYER_TYPE.to_owned(), diff_id: digest }, bytes))
    }

    /// Keeps the result of a step for later builds.
    pub(super) fn remember(&self, keys: &[Digest], record: &CacheRecord) {
        self.made().cached.extend(keys.iter().map(|key| (*key, record.clone())));
    }

    /// One sync for all, then the rows. What was made is there after a crash only from here on.
    pub(super) async fn record(&self) -> Result<()> {
        let made = std::mem::take(&mut *self.made());
        let images = &self.core.images;
        let mut cached = images.build_cache().touched();
        if made.blobs.is_empty() && made.cached.is_empty() && cached.is_empty() {
            return Ok(());
        }
        if !made.blobs.is_empty() {
            images.flights().sync().await?;
        }
        cached.extend(made.cached.iter().cloned());
        let write = images.store().write(Durability::Crash, move |tx| {
            made.blobs.iter().try_for_each(|row| blob::put(tx, row))?;
            made.layers.iter().try_for_each(|row| layer::put(tx, row))?;
            cached.iter().try_for_each(|(key, record)| build_cache::put(tx, *key, record))
        });
        write.await?;
        images.build_cache().publish(made.cached);
        Ok(())
    }
}

/// The key of the layers of a file system: what a step that runs on it depends on.
pub(super) fn chain(layers: &[LayerRef]) -> Digest {
    let ids: Vec<String> = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
    Digest::of(ids.join(" ").as_bytes())
}

/// The layers' ids.
pub(super) fn ids(layers: &[LayerRef]) -> Vec<LayerId> {
    layers.iter().map(|layer| layer.diff_id).collect()
}

/// A writable layer as a tar in a file; answers its digest and its bytes.
fn pack(upper: &Path, target: &Path, latest: Option<i64>) -> Result<(Digest, u64)> {
    let upper = RootFd::open(upper)?.open_dir(Path::new(""))?;
    if let Some(latest) = latest {
        turn_back(&upper, latest, 512)?;
    }
    let file = std::io::BufWriter::with_capacity(WRITE_BYTES, std::fs::File::create_new(target)?);
    let mut packer = Packer::new(Hashed::new(file), Marks::Layer);
    packer.not_later_than(latest);
    packer.tree(&upper, b"")?;
    packer.finish()?.end()
}

/// Times on disk as they are in the tar.
fn turn_back(dir: &Dir, latest: i64, depth: usize) -> Result<()> {
    if depth == 0 {
        return Err(Error::invalid("a layer with more than 512 levels"));
    }
    for name in dir.names()? {
        let stat = dir.stat(&name)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            turn_back(&dir.open_dir(&name)?, latest, depth - 1)?;
        }
        if stat.st_mtime >= latest {
            let time = Timespec { tv_sec: latest, tv_nsec: 0 };
            dir.set_times(&name, &Timestamps { last_access: time, last_modification: time })?;
        }
    }
    Ok(())
}
