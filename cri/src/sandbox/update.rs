//! UpdatePodSandboxResources: told after the caller has changed the pod's own cgroup.

use engine::Engine;
use tonic::Status;

use crate::proto as cri;
use crate::{status_code, to_spec};

/// `resources` contains what the containers ask for together; `overhead` is what the runtime needs beside it.
pub(crate) async fn update(engine: &Engine, request: cri::UpdatePodSandboxResourcesRequest) -> Result<(), Status> {
    let sandbox = super::find(engine, &request.pod_sandbox_id)?;
    let pod = to_spec::pod_resources(request.resources, request.overhead).map_err(|e| status_code::status(&e))?;
    sandbox.update(pod).await.map_err(|e| status_code::status(&e))
}
