//! ContainerStats and ListContainerStats: only containers that run have figures.

use engine::container::{ContainerView, Phase};
use engine::{ContainerHandle, Engine};
use futures_util::{Stream, StreamExt as _};
use tonic::Status;

use crate::proto as cri;
use crate::{from_engine, status_code, to_spec, usage};

/// Containers whose cgroups are read one after the other.
const READ_TOGETHER: usize = 25;
/// Such groups read at once; one that hangs is left out of the list instead of holding it up.
const PARALLEL_MAX: usize = 8;

pub(crate) async fn stats(engine: &Engine, id: &str) -> Result<cri::ContainerStats, Status> {
    let container = super::find(engine, id)?;
    let sample = container.stats().await.map_err(|e| status_code::status(&e))?;
    Ok(usage::container(&container.view(), &sample, &engine.images().layers_root()))
}

/// One after the other, many being read at once.
pub(crate) fn list_stats(
    engine: &Engine,
    filter: Option<cri::ContainerStatsFilter>,
) -> impl Stream<Item = cri::ContainerStats> + Send + use<> {
    let filter = filter.unwrap_or_default();
    let (engine, layers) = (engine.clone(), engine.images().layers_root());
    let mut views = engine.containers();
    views.retain(|view| is_wanted(&filter, view));
    let handles: Vec<_> = views.iter().filter_map(|view| engine.container(view.id.as_str()).ok()).collect();
    let groups: Vec<Vec<ContainerHandle>> = handles.chunks(READ_TOGETHER).map(<[_]>::to_vec).collect();
    let samples = groups.into_iter().map(move |group| samples(group, layers.clone()));
    futures_util::stream::iter(samples).buffered(PARALLEL_MAX).flat_map(futures_util::stream::iter)
}

async fn samples(group: Vec<ContainerHandle>, layers: String) -> Vec<cri::ContainerStats> {
    let taken = ContainerHandle::brief_stats(&group).await;
    let pairs = group.iter().zip(taken);
    pairs.filter_map(|(container, sample)| Some(usage::container(&container.view(), &sample?, &layers))).collect()
}

fn is_wanted(filter: &cri::ContainerStatsFilter, view: &ContainerView) -> bool {
    from_engine::is_pods_container(view)
        && matches!(view.phase, Phase::Running | Phase::Paused)
        && view.id.as_str().starts_with(&filter.id)
        && view.sandbox_id.as_str().starts_with(&filter.pod_sandbox_id)
        && to_spec::is_subset(&filter.label_selector, &view.spec.labels)
}
