//! PodSandboxStatus.

use std::collections::HashMap;

use engine::Engine;
use tonic::Status;

use crate::from_engine;
use crate::proto as cri;

pub(crate) fn status(
    engine: &Engine,
    request: &cri::PodSandboxStatusRequest,
) -> Result<cri::PodSandboxStatusResponse, Status> {
    let view = super::find(engine, &request.pod_sandbox_id)?.view();
    let mut info = HashMap::new();
    if request.verbose {
        let document = serde_json::json!({
            "pid": view.shim_pid,
            "netns": view.netns_path,
            "runtime": view.runtime,
            "cgroupParent": view.cgroup_parent,
            "error": view.error,
            "spec": &*view.spec,
        });
        info.insert("info".to_owned(), document.to_string());
    }
    Ok(cri::PodSandboxStatusResponse {
        status: Some(from_engine::sandbox_status(&view)),
        info,
        containers_statuses: crate::container::statuses_of(engine, &view),
        timestamp: engine::event::now_ns(),
    })
}
