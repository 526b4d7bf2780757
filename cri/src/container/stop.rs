//! StopContainer. Idempotent: a container that is gone or ended is a success.

use std::time::Duration;

use engine::Engine;
use tonic::Status;

use crate::proto as cri;
use crate::status_code;

/// `timeout` is in seconds; 0 or less kills at once.
pub(crate) async fn stop(engine: &Engine, request: &cri::StopContainerRequest) -> Result<(), Status> {
    let Some(container) = super::find_if_exists(engine, &request.container_id)? else { return Ok(()) };
    let grace = Duration::from_secs(u64::try_from(request.timeout).unwrap_or(0));
    status_code::idempotent(container.stop(Some(grace), None).await)
}
