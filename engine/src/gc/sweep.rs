//! Removing what marking has not reached, and downloads that nobody came back for.

use std::time::Duration;

use crate::error::Result;
use crate::image::Images;

use super::edges::{Graph, Node};
use super::mark::reachable;

/// What a sweep removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Blobs.
    pub blobs: usize,
    /// Layers.
    pub layers: usize,
    /// Unfinished downloads.
    pub ingests: usize,
    /// Expired leases.
    pub leases: usize,
    /// Bytes that became free, as recorded.
    pub bytes: u64,
}

impl Images {
    /// Removes every blob, layer and download that no image, snapshot or lease needs. Whoever wants to begin holding
    /// something waits until it is over.
    ///
    /// # Errors
    /// `Internal` when something cannot be removed; the rest is removed by the next sweep.
    pub async fn sweep(&self) -> Result<Swept> {
        let _gate = self.overlay().gate().write().await;
        let mut swept = Swept { leases: self.leases().sweep().await?, ..Swept::default() };
        let graph = Graph::read(self);
        let kept = reachable(graph.roots.iter().cloned(), |node| graph.edges(node));
        for (id, _) in self.overlay().layers() {
            if !kept.contains(&Node::Layer(id)) {
                swept.bytes += self.overlay().remove_layer(id).await?;
                swept.layers += 1;
            }
        }
        for (digest, _) in self.content().list() {
            if !kept.contains(&Node::Blob(digest)) {
                swept.bytes += self.content().remove(digest).await?;
                swept.blobs += 1;
            }
        }
        let keep = i64::try_from(self.settings().ingest_keep.as_secs()).unwrap_or(i64::MAX);
        let before = jiff::Timestamp::now().as_second().saturating_sub(keep);
        swept.ingests = self.content().abandon_stale(before, &self.flights().busy()).await?;
        if swept != Swept::default() {
            tracing::info!(?swept, "swept");
        }
        Ok(swept)
    }

    /// Sweeps now and then, until the handle that it is spawned with is dropped or aborted.
    pub async fn sweep_forever(self, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            if let Err(error) = self.sweep().await {
                tracing::warn!(%error, "a sweep failed; the next one tries again");
            }
        }
    }
}
