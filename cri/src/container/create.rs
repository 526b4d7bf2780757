//! CreateContainer.

use engine::Engine;
use tonic::Status;

use crate::proto as cri;
use crate::{status_code, to_spec};

/// Makes a container in the sandbox; `sandbox_config` is not looked at: the sandbox knows its own.
pub(crate) async fn create(engine: &Engine, request: cri::CreateContainerRequest) -> Result<String, Status> {
    let config = request.config.ok_or_else(|| Status::invalid_argument("config is missing"))?;
    let view = crate::sandbox::find(engine, &request.pod_sandbox_id)?.view();
    let spec = to_spec::container(config, view.id.clone(), &view.spec).map_err(|e| status_code::status(&e))?;
    let created = engine.create_container(spec).await.map_err(|e| status_code::status(&e))?;
    Ok(created.container.id().to_string())
}
