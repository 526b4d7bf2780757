//! ContainerStats and ListContainerStats.

use std::sync::Arc;
use std::time::Duration;

use engine::Engine;
use engine::container::{ContainerView, Phase};
use futures_util::StreamExt as _;
use tonic::Status;

use crate::proto as cri;
use crate::{from_engine, status_code, to_spec};

/// Samples taken at once.
const PARALLEL_MAX: usize = 16;
/// For one container; one that hangs is left out of the list instead of holding it up.
const SAMPLE_MAX: Duration = Duration::from_secs(2);

pub(crate) async fn stats(engine: &Engine, id: &str) -> Result<cri::ContainerStats, Status> {
    let container = super::find(engine, id)?;
    let sample = container.stats().await.map_err(|e| status_code::status(&e))?;
    Ok(from_engine::container_stats(&container.view(), &sample))
}

pub(crate) async fn list_stats(engine: &Engine, filter: Option<cri::ContainerStatsFilter>) -> Vec<cri::ContainerStats> {
    let filter = filter.unwrap_or_default();
    let views = engine.containers().into_iter().filter(|view| is_wanted(&filter, view));
    let samples = futures_util::stream::iter(views.map(|view| sample(engine, view)));
    samples.buffered(PARALLEL_MAX).filter_map(|sample| async { sample }).collect().await
}

async fn sample(engine: &Engine, view: Arc<ContainerView>) -> Option<cri::ContainerStats> {
    let container = engine.container(view.id.as_str()).ok()?;
    let sample = tokio::time::timeout(SAMPLE_MAX, container.stats()).await.ok()?.ok()?;
    Some(from_engine::container_stats(&view, &sample))
}

fn is_wanted(filter: &cri::ContainerStatsFilter, view: &ContainerView) -> bool {
    from_engine::is_pods_container(view)
        && matches!(view.phase, Phase::Running | Phase::Paused)
        && view.id.as_str().starts_with(&filter.id)
        && view.sandbox_id.as_str().starts_with(&filter.pod_sandbox_id)
        && to_spec::is_subset(&filter.label_selector, &view.spec.labels)
}
