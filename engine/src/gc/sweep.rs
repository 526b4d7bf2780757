//! Removing what marking has not reached, and downloads that nobody came back for.

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

    /// Sweeps every [`crate::image::ImageSettings::sweep_every`] for as long as somebody has these images open.
    pub(crate) fn sweep_in_background(&self) {
        let (weak, every) = (self.downgrade(), self.settings().sweep_every);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                let Some(images) = weak.upgrade() else { return };
                if let Err(error) = images.sweep().await {
                    tracing::warn!(%error, "a sweep failed; the next one tries again");
                }
            }
        });
    }
}
