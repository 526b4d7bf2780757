//! What containers and volumes hold on disk at this moment, counted for who asks (`system df`, `ps --size`).
//!
//! Figures that are asked for often come from [`crate::snapshot::UsageBook`] instead, which are some seconds old. Here
//! everything is walked anew, a few walks at a time for all clients together, and no longer than a deadline: what is not
//! counted by then is left out of the answer rather than guessed.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::Instant;

use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;

/// Walks at the same time, for all clients.
pub(crate) const WALKS_MAX: usize = 4;
/// How long one request may count.
const COUNT_MAX: Duration = Duration::from_secs(20);

impl Engine {
    /// Bytes of the writable layers of these containers; those that could not be counted in time are missing.
    pub async fn writable_bytes(&self, containers: Vec<ContainerId>) -> HashMap<ContainerId, u64> {
        let count = |engine: Self, id: ContainerId| async move {
            Ok(engine.core().snapshots.usage(&id.as_str().parse()?).await?.bytes)
        };
        self.counted(containers, count).await
    }

    /// Bytes of these volumes; those that could not be counted in time are missing.
    pub async fn volume_bytes(&self, names: Vec<String>) -> HashMap<String, u64> {
        self.counted(names, |engine: Self, name: String| async move { engine.volumes().usage(&name).await }).await
    }

    async fn counted<K, F>(&self, keys: Vec<K>, count: impl Fn(Self, K) -> F) -> HashMap<K, u64>
    where
        K: Hash + Eq + Clone + std::fmt::Debug,
        F: Future<Output = Result<u64>> + Send,
    {
        let until = Instant::now() + COUNT_MAX;
        let walks: Vec<_> = keys
            .into_iter()
            .map(|key| {
                let counting = count(self.clone(), key.clone());
                async move {
                    let bytes = async {
                        let _walk = self.core().walks.acquire().await.ok()?;
                        counting.await.inspect_err(|error| tracing::debug!(?key, %error, "not counted")).ok()
                    };
                    let bytes = tokio::time::timeout_at(until, bytes).await.ok().flatten();
                    (key, bytes)
                }
            })
            .collect();
        let counted: Vec<_> = futures_util::stream::iter(walks).buffer_unordered(WALKS_MAX).collect().await;
        counted.into_iter().filter_map(|(key, bytes)| Some((key, bytes?))).collect()
    }
}
