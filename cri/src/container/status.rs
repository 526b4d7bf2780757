//! ContainerStatus.

use std::collections::HashMap;

use engine::Engine;
use tonic::Status;

use crate::from_engine;
use crate::proto as cri;

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
