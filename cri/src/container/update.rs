//! UpdateContainerResources and ReopenContainerLog.

use engine::Engine;
use tonic::Status;

use crate::proto as cri;
use crate::{status_code, to_spec};

/// Only what is set changes. Annotations are for runtimes that know them; ours knows none.
pub(crate) async fn update(engine: &Engine, request: cri::UpdateContainerResourcesRequest) -> Result<(), Status> {
    let container = super::find(engine, &request.container_id)?;
    let mut resources = to_spec::resources(request.linux).map_err(|e| status_code::status(&e))?;
    // The kubelet sends no score with a resize, and the score of a running process stays.
    resources.oom_score_adj = None;
    container.update(resources, None).await.map_err(|e| status_code::status(&e))
}

pub(crate) async fn reopen_log(engine: &Engine, id: &str) -> Result<(), Status> {
    super::find(engine, id)?.reopen_log().await.map_err(|e| status_code::status(&e))
}
