//! ListContainers: from memory, whatever a container is waiting for.

use std::collections::HashMap;
use std::sync::Arc;

use engine::Engine;
use engine::container::ContainerView;
use engine::id::ImageId;
use engine::image::ImageView;

use crate::proto as cri;
use crate::{from_engine, to_spec};

pub(crate) fn list(engine: &Engine, filter: Option<cri::ContainerFilter>) -> Vec<cri::Container> {
    let filter = filter.unwrap_or_default();
    let images: HashMap<ImageId, Arc<ImageView>> =
        engine.images().list().into_iter().map(|image| (image.id, image)).collect();
    let views = engine.containers();
    let pods = views.iter().filter(|view| from_engine::is_pods_container(view));
    let wanted = pods.filter(|view| is_wanted(&filter, view));
    wanted.map(|view| from_engine::container(view, images.get(&view.image_id).map(|image| &**image))).collect()
}

fn is_wanted(filter: &cri::ContainerFilter, view: &ContainerView) -> bool {
    let state = filter.state.is_none_or(|state| state.state == from_engine::container_state(view.phase) as i32);
    state
        && view.id.as_str().starts_with(&filter.id)
        && view.sandbox_id.as_str().starts_with(&filter.pod_sandbox_id)
        && to_spec::is_subset(&filter.label_selector, &view.spec.labels)
}
