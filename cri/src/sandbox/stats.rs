//! PodSandboxStats, ListPodSandboxStats and the samples behind ListPodSandboxMetrics: only sandboxes that are up have
//! figures.

use std::sync::Arc;
use std::time::Duration;

use engine::Engine;
use engine::sandbox::{SandboxPhase, SandboxSample, SandboxView};
use futures_util::{Stream, StreamExt as _};
use tonic::Status;

use crate::proto as cri;
use crate::{from_engine, status_code, to_spec, usage};

/// Sandboxes sampled at once.
const PARALLEL_MAX: usize = 8;
/// For one sandbox; one that hangs is left out of the list instead of holding it up.
const SAMPLE_MAX: Duration = Duration::from_secs(5);

pub(crate) async fn stats(engine: &Engine, id: &str) -> Result<cri::PodSandboxStats, Status> {
    let sandbox = super::find(engine, id)?;
    let sample = sandbox.stats().await.map_err(|e| status_code::status(&e))?;
    Ok(usage::sandbox(&sample, &engine.images().layers_root()))
}

/// One after the other, several being taken at once.
pub(crate) fn list_stats(
    engine: &Engine,
    filter: Option<cri::PodSandboxStatsFilter>,
) -> impl Stream<Item = cri::PodSandboxStats> + Send + use<> {
    let layers = engine.images().layers_root();
    samples(engine, filter).map(move |sample| usage::sandbox(&sample, &layers))
}

/// The samples of the sandboxes that are up.
pub(crate) fn samples(
    engine: &Engine,
    filter: Option<cri::PodSandboxStatsFilter>,
) -> impl Stream<Item = SandboxSample> + Send + use<> {
    let filter = filter.unwrap_or_default();
    let mut views = engine.sandboxes();
    views.retain(|view| is_wanted(&filter, view));
    let engine = engine.clone();
    let samples = views.into_iter().map(move |view| sample(engine.clone(), view));
    futures_util::stream::iter(samples).buffered(PARALLEL_MAX).filter_map(|sample| async { sample })
}

async fn sample(engine: Engine, view: Arc<SandboxView>) -> Option<SandboxSample> {
    let sandbox = engine.sandbox(view.id.as_str()).ok()?;
    tokio::time::timeout(SAMPLE_MAX, sandbox.stats()).await.ok()?.ok()
}

fn is_wanted(filter: &cri::PodSandboxStatsFilter, view: &SandboxView) -> bool {
    from_engine::is_pod(view)
        && view.phase == SandboxPhase::Ready
        && view.id.as_str().starts_with(&filter.id)
        && to_spec::is_subset(&filter.label_selector, &view.spec.labels)
}
