//! PodSandboxStatus.

use std::collections::HashMap;

use engine::Engine;
use tonic::Status;

use crate::proto as cri;
use crate::{from_engine, status_code};

pub(crate) fn status(
    engine: &Engine,
    request: &cri::PodSandboxStatusRequest,
) -> Result<cri::PodSandboxStatusResponse, Status> {
    let sandbox = engine.sandbox(&request.pod_sandbox_id).map_err(|e| status_code::status(&e))?;
    let view = sandbox.view();
    if !from_engine::is_pod(&view) {
        return Err(Status::not_found(format!("No such sandbox: {}", request.pod_sandbox_id)));
    }
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
        containers_statuses: Vec::new(),
        timestamp: 0,
    })
}
