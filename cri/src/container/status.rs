//! ContainerStatus.

use std::collections::HashMap;

use engine::Engine;
use engine::sandbox::SandboxView;
use tonic::Status;

use crate::from_engine;
use crate::proto as cri;

/// The statuses of a sandbox's containers.
pub(crate) fn statuses_of(engine: &Engine, sandbox: &SandboxView) -> Vec<cri::ContainerStatus> {
    let containers = sandbox.containers.iter().filter_map(|id| engine.container(id.as_str()).ok());
    let status = |container: engine::ContainerHandle| {
        let view = container.view();
        let image = engine.images().get(&view.image_id.to_string()).ok();
        from_engine::container_status(&view, image.as_deref())
    };
    containers.map(status).collect()
}

pub(crate) fn status(
    engine: &Engine,
    request: &cri::ContainerStatusRequest,
) -> Result<cri::ContainerStatusResponse, Status> {
    let view = super::find(engine, &request.container_id)?.view();
    let image = engine.images().get(&view.image_id.to_string()).ok();
    let mut info = HashMap::new();
    if request.verbose {
        let document = serde_json::json!({
            "sandboxID": view.sandbox_id,
            "pid": view.pid,
            "cgroupPath": view.cgroup_path,
            "error": view.error,
            "process": &*view.resolved,
            "spec": &*view.spec,
        });
        info.insert("info".to_owned(), document.to_string());
    }
    Ok(cri::ContainerStatusResponse { status: Some(from_engine::container_status(&view, image.as_deref())), info })
}
