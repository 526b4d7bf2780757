//! `GET /pods/json` and `GET /pods/{id}/json`: a kubelet's pods as they are now, from memory. Ours; for `gantry pods`.

use std::net::IpAddr;

use docker_api::pod::{Pod, PodContainer};
use engine::Engine;
use engine::id::Owner;
use engine::sandbox::{SandboxPhase, SandboxView};
use http::StatusCode;

use crate::call::Call;
use crate::reply::{self, Outcome};
use crate::status_code::Failure;

/// Newest first. Those that are not ready only with `all`.
pub(crate) async fn list(call: Call) -> Outcome {
    let all = call.query.flag("all");
    let engine = call.engine();
    let views = engine.sandboxes();
    let shown = views.iter().filter(|view| is_pod(view) && (all || view.phase == SandboxPhase::Ready));
    let pods: Vec<Pod> = shown.map(|view| pod(engine, view)).collect();
    reply::ok(&pods)
}

/// By id, unique prefix of an id, `namespace/name`, or name where only one namespace has it.
pub(crate) async fn inspect(call: Call) -> Outcome {
    let engine = call.engine();
    let name = call.name();
    let views = engine.sandboxes();
    let named = |view: &SandboxView| {
        let pod = view.spec.pod.as_ref();
        view.id.as_str() == name
            || pod.is_some_and(|pod| pod.name == name || format!("{}/{}", pod.namespace, pod.name) == name)
    };
    let mut found: Vec<_> = views.iter().filter(|view| is_pod(view) && named(view)).collect();
    if found.is_empty() {
        found = views.iter().filter(|view| is_pod(view) && view.id.as_str().starts_with(name)).collect();
    }
    match found.as_slice() {
        [] => Err(Failure::new(StatusCode::NOT_FOUND, format!("No such pod: {name}"))),
        [view] => reply::ok(&pod(engine, view)),
        // Earlier attempts of one pod stand behind the newest.
        [first, rest @ ..] if rest.iter().all(|view| uid(view) == uid(first)) => reply::ok(&pod(engine, first)),
        _ => Err(Failure::bad_request(format!("{name} names several pods: say NAMESPACE/NAME or more of the id"))),
    }
}

fn uid(view: &SandboxView) -> Option<&str> {
    view.spec.pod.as_ref().map(|pod| pod.uid.as_str())
}

fn is_pod(view: &SandboxView) -> bool {
    view.spec.owner == Owner::Cri
}

fn pod(engine: &Engine, view: &SandboxView) -> Pod {
    let (name, namespace, uid, attempt) = match &view.spec.pod {
        Some(pod) => (pod.name.clone(), pod.namespace.clone(), pod.uid.clone(), pod.attempt),
        None => (view.spec.name.clone(), String::new(), String::new(), 0),
    };
    let addresses = view.endpoints.iter().flat_map(|endpoint| {
        let v4 = endpoint.ipv4.map(|(ip, _)| IpAddr::V4(ip));
        v4.into_iter().chain(endpoint.ipv6.map(|(ip, _)| IpAddr::V6(ip)))
    });
    Pod {
        id: view.id.to_string(),
        name,
        namespace,
        uid,
        attempt,
        state: state(view.phase).to_owned(),
        created: view.created_ns / 1_000_000_000,
        addresses: addresses.map(|ip| ip.to_string()).collect(),
        network: view.endpoints.first().map(|endpoint| endpoint.network_name.clone()).unwrap_or_default(),
        runtime: view.runtime.clone(),
        error: view.error.clone(),
        labels: view.spec.labels.clone(),
        annotations: view.spec.annotations.clone(),
        containers: view.containers.iter().map(|id| container(engine, view, id.as_str())).collect(),
    }
}

/// The engine's names of pods' containers are `<name>_<pod>_<attempt>`.
fn container(engine: &Engine, view: &SandboxView, id: &str) -> PodContainer {
    let whole = engine.container(id).map(|container| container.view().name.clone()).unwrap_or_default();
    let short = whole.split_once(&format!("_{}_", view.spec.name)).map(|(name, _)| name.to_owned());
    PodContainer { id: id.to_owned(), name: short.unwrap_or(whole) }
}

fn state(phase: SandboxPhase) -> &'static str {
    match phase {
        SandboxPhase::Creating => "creating",
        SandboxPhase::Ready => "ready",
        SandboxPhase::Stopping => "stopping",
        SandboxPhase::NotReady => "notready",
        SandboxPhase::Removing => "removing",
    }
}
