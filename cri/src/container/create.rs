//! CreateContainer.

use engine::Engine;
use tonic::Status;

use crate::proto as cri;
use crate::{from_engine, status_code, to_spec};

/// Makes a container in the sandbox; `sandbox_config` is not looked at: the sandbox knows its own.
pub(crate) async fn create(engine: &Engine, request: cri::CreateContainerRequest) -> Result<String, Status> {
    let config = request.config.ok_or_else(|| Status::invalid_argument("config is missing"))?;
    let sandbox = engine.sandbox(&request.pod_sandbox_id).map_err(|e| status_code::status(&e))?;
    let view = sandbox.view();
    if !from_engine::is_pod(&view) {
        return Err(Status::not_found(format!("No such sandbox: {}", request.pod_sandbox_id)));
    }
    let spec = to_spec::container(config, view.id.clone(), &view.spec).map_err(|e| status_code::status(&e))?;
    let created = engine.create_container(spec).await.map_err(|e| status_code::status(&e))?;
    Ok(created.container.id().to_string())
}
