//! What all steps that change files have in common: the cache before, a layer after.

use crate::error::Result;
use crate::id::Digest;
use crate::image::LayerRef;
use crate::metadata::tables::build_cache::CacheRecord;
use crate::snapshot::SnapshotKey;

use super::executor::Execution;
use super::state::State;
use super::teller::Vertex;

/// Characters of a step that are kept with its result.
const DESCRIPTION_LEN_MAX: usize = 400;

/// A step that is being done.
#[derive(Debug)]
pub(super) struct Step<'a> {
    pub(super) stage: usize,
    pub(super) vertex: Vertex,
    /// As it is written, without the values of variables.
    pub(super) source: &'a str,
    /// Its result is not taken from the cache.
    pub(super) anew: bool,
}

/// How a step was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The cache had its result.
    Cached,
    /// It was done.
    Done,
}

impl Step<'_> {
    /// Takes the result of the step from the cache, if it is there.
    pub(super) async fn cached(
        &self,
        execution: &Execution,
        state: &mut State,
        key: Digest,
        text: &str,
    ) -> Result<Option<Outcome>> {
        if self.anew {
            return Ok(None);
        }
        let Some(record) = execution.layers.cached(key).await else { return Ok(None) };
        self.add(execution, state, record.layer, record.created, text.to_owned());
        Ok(Some(Outcome::Cached))
    }

    /// Makes a layer of what was written, remembers it under `keys` and notes the step.
    pub(super) async fn seal(
        &self,
        execution: &Execution,
        state: &mut State,
        snapshot: &SnapshotKey,
        keys: &[Digest],
        text: String,
    ) -> Result<Outcome> {
        let (layer, bytes) = match execution.layers.seal(snapshot).await {
            Ok(sealed) => sealed,
            Err(error) => {
                execution.core.snapshots.remove(snapshot).await?;
                return Err(error);
            }
        };
        let created = jiff::Timestamp::now();
        let record = CacheRecord {
            v: 1,
            layer: layer.clone(),
            description: self.source.chars().take(DESCRIPTION_LEN_MAX).collect(),
            parent: state.layers.last().map(|layer| layer.diff_id),
            bytes,
            created,
            last_used: created,
            uses: 0,
        };
        execution.layers.remember(keys, &record);
        self.add(execution, state, layer, created, text);
        Ok(Outcome::Done)
    }

    fn add(&self, execution: &Execution, state: &mut State, layer: LayerRef, created: jiff::Timestamp, text: String) {
        let epoch = execution.spec.source_date_epoch.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
        state.layers.push(layer);
        state.note(text, Some(epoch.unwrap_or(created).to_string()));
    }
}
