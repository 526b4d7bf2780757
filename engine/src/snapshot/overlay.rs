//! Layers and writable layers as overlayfs stacks them.

use std::path::PathBuf;

use async_trait::async_trait;

use crate::error::{Error, Result};
use crate::id::LayerId;

use super::{Mount, SnapshotKey, SnapshotView, Snapshotter, Usage};

/// The overlayfs snapshotter.
#[derive(Debug)]
pub struct Overlay {
    _root: PathBuf,
}

impl Overlay {
    /// Opens the directory of layers.
    pub fn new(root: PathBuf) -> Self {
        Self { _root: root }
    }
}

fn unbuilt<T>() -> Result<T> {
    Err(Error::not_implemented("the overlay snapshotter is not built yet"))
}

#[async_trait]
impl Snapshotter for Overlay {
    async fn prepare(&self, _key: &SnapshotKey, _layers: &[LayerId]) -> Result<Vec<Mount>> {
        unbuilt()
    }
    async fn view(&self, _key: &SnapshotKey, _layers: &[LayerId]) -> Result<Vec<Mount>> {
        unbuilt()
    }
    fn mounts(&self, _key: &SnapshotKey) -> Result<Vec<Mount>> {
        unbuilt()
    }
    fn upper_dir(&self, _key: &SnapshotKey) -> Result<Option<PathBuf>> {
        unbuilt()
    }
    async fn usage(&self, _key: &SnapshotKey) -> Result<Usage> {
        unbuilt()
    }
    async fn remove(&self, _key: &SnapshotKey) -> Result<()> {
        unbuilt()
    }
    fn list(&self) -> Vec<SnapshotView> {
        Vec::new()
    }
}
