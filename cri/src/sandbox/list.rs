//! ListPodSandbox: from memory, whatever a sandbox is waiting for.

use engine::Engine;

use crate::proto as cri;
use crate::{from_engine, to_spec};

pub(crate) fn list(engine: &Engine, filter: Option<cri::PodSandboxFilter>) -> Vec<cri::PodSandbox> {
    let filter = filter.unwrap_or_default();
    let views = engine.sandboxes();
    let pods = views.iter().filter(|view| from_engine::is_pod(view));
    let wanted = pods.filter(|view| {
        let state = filter.state.is_none_or(|state| state.state == from_engine::sandbox_state(view.phase) as i32);
        view.id.as_str().starts_with(&filter.id)
            && state
            && to_spec::is_subset(&filter.label_selector, &view.spec.labels)
    });
    wanted.map(|view| from_engine::sandbox(view)).collect()
}
