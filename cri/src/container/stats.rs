//! ContainerStats and ListContainerStats: only containers that run have figures.

use std::sync::Arc;
use std::time::Duration;

use engine::Engine;
use engine::container::{ContainerView, Phase};
use futures_util::{Stream, StreamExt as _};
use tonic::Status;

use crate::proto as cri;
use crate::{from_engine, status_code, to_spec, usage};

/// Samples taken at once.
const PARALLEL_MAX: usize = 16;
/// For one container; one that hangs is left out of the list instead of holding it up.
const SAMPLE_MAX: Duration = Duration::from_secs(2);

pub(crate) async fn stats(engine: &Engine, id: &str) -> Result<cri::ContainerStats, Status> {
    let container = super::find(engine, id)?;
    let sample = container.stats().await.map_err(|e| status_code::status(&e))?;
    Ok(usage::container(&container.view(), &sample, &engine.images().layers_root()))
}

/// One after the other, several being taken at once.
pub(crate) fn list_stats(
    engine: &Engine,
    filter: Option<cri::ContainerStatsFilter>,
) -> impl Stream<Item = cri::ContainerStats> + Send + use<> {
    let filter = filter.unwrap_or_default();
    let (engine, layers) = (engine.clone(), engine.images().layers_root());
    let mut views = engine.containers();
    views.retain(|view| is_wanted(&filter, view));
    let samples = views.into_iter().map(move |view| sample(engine.clone(), view, layers.clone()));
    futures_util::stream::iter(samples).buffered(PARALLEL_MAX).filter_map(|sample| async { sample })
}

async fn sample(engine: Engine, view: Arc<ContainerView>, layers: String) -> Option<cri::ContainerStats> {
    let container = engine.container(view.id.as_str()).ok()?;
    let sample = tokio::time::timeout(SAMPLE_MAX, container.stats()).await.ok()?.ok()?;
    Some(usage::container(&view, &sample, &layers))
}

fn is_wanted(filter: &cri::ContainerStatsFilter, view: &ContainerView) -> bool {
    from_engine::is_pods_container(view)
        && matches!(view.phase, Phase::Running | Phase::Paused)
        && view.id.as_str().starts_with(&filter.id)
        && view.sandbox_id.as_str().starts_with(&filter.pod_sandbox_id)
        && to_spec::is_subset(&filter.label_selector, &view.spec.labels)
}
