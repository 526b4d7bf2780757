//! StopPodSandbox. Idempotent: a sandbox that is gone or down is a success.

use engine::Engine;
use tonic::Status;

use crate::status_code;

pub(crate) async fn stop(engine: &Engine, id: &str) -> Result<(), Status> {
    match status_code::if_exists(engine.sandbox(id))? {
        Some(sandbox) => status_code::idempotent(sandbox.stop().await),
        None => Ok(()),
    }
}
