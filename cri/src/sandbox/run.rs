//! RunPodSandbox.

use engine::Engine;
use tonic::Status;

use crate::proto as cri;
use crate::{status_code, to_spec};

/// When it returns, the sandbox is up or nothing of it is left.
pub(crate) async fn run(engine: &Engine, request: cri::RunPodSandboxRequest) -> Result<String, Status> {
    let config = request.config.ok_or_else(|| Status::invalid_argument("config is missing"))?;
    let spec = to_spec::sandbox(config, &request.runtime_handler).map_err(|e| status_code::status(&e))?;
    let sandbox = engine.run_sandbox(spec).await.map_err(|e| status_code::status(&e))?;
    Ok(sandbox.id().to_string())
}
