//! ListMetricDescriptors and ListPodSandboxMetrics: what cAdvisor would show of pods, under its names.

mod families;
mod subject;

use engine::Engine;
use engine::image::LayersCapacity;
use engine::sandbox::SandboxSample;
use futures_util::{Stream, StreamExt as _};

use crate::proto as cri;
use crate::sandbox;
use families::FAMILIES;
use subject::{BASE_LABELS, Subject};

/// All metrics that there are.
pub(crate) fn descriptors() -> Vec<cri::MetricDescriptor> {
    let descriptor = |family: &families::Family| cri::MetricDescriptor {
        name: family.name.to_owned(),
        help: family.help.to_owned(),
        label_keys: BASE_LABELS.iter().chain(family.labels).map(|label| (*label).to_owned()).collect(),
    };
    FAMILIES.iter().map(descriptor).collect()
}

/// The metrics of the sandboxes that are up, one after the other.
pub(crate) fn list(engine: &Engine) -> impl Stream<Item = cri::PodSandboxMetrics> + Send + use<> {
    let capacity = engine.images().layers_capacity();
    let samples = sandbox::samples(engine, None);
    let engine = engine.clone();
    samples.then(move |sample| {
        let (engine, capacity) = (engine.clone(), capacity.clone());
        async move { of_sandbox(&engine, &sample, capacity.as_ref()).await }
    })
}

async fn of_sandbox(
    engine: &Engine,
    sample: &SandboxSample,
    layers: Option<&LayersCapacity>,
) -> cri::PodSandboxMetrics {
    let mut container_metrics = Vec::new();
    for (view, of_container) in &sample.containers {
        let figures = match engine.container(view.id.as_str()) {
            Ok(container) => container.process_figures().await.ok(),
            Err(_) => None,
        };
        let subject = Subject::container(&sample.view, view, of_container, figures, layers);
        container_metrics.push(cri::ContainerMetrics { container_id: view.id.to_string(), metrics: metrics(&subject) });
    }
    cri::PodSandboxMetrics {
        pod_sandbox_id: sample.view.id.to_string(),
        metrics: metrics(&Subject::sandbox(sample)),
        container_metrics,
    }
}

/// PURE. Every family's values.
fn metrics(subject: &Subject<'_>) -> Vec<cri::Metric> {
    let rows = FAMILIES.iter().flat_map(|family| {
        let metric = move |(labels, value): (Vec<String>, u64)| {
            debug_assert_eq!(labels.len(), family.labels.len(), "{}", family.name);
            cri::Metric {
                name: family.name.to_owned(),
                timestamp: subject.time_ns,
                metric_type: family.kind as i32,
                label_values: subject.labels.iter().cloned().chain(labels).collect(),
                value: Some(cri::UInt64Value { value }),
            }
        };
        (family.values)(subject).into_iter().map(metric)
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_every_value_has_the_labels_of_its_family() {
        let descriptors = descriptors();
        let names: HashSet<&str> = descriptors.iter().map(|d| d.name.as_str()).collect();
        assert_eq!(names.len(), descriptors.len());
        assert!(descriptors.iter().all(|d| !d.help.is_empty() && d.label_keys.len() >= BASE_LABELS.len()));
        let full = subject::full();
        let metrics = metrics(&full);
        for metric in &metrics {
            let descriptor = descriptors.iter().find(|d| d.name == metric.name).unwrap();
            assert_eq!(metric.label_values.len(), descriptor.label_keys.len(), "{}", metric.name);
        }
        let shown: HashSet<&str> = metrics.iter().map(|m| m.name.as_str()).collect();
        let missing: Vec<&&str> = names.difference(&shown).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
