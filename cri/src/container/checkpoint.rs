//! CheckpointContainer: what is wrong with the request is said first, then what is in the way of checkpoints.

use engine::Engine;
use tonic::Status;

use crate::proto as cri;

pub(crate) async fn checkpoint(
    engine: &Engine,
    request: &cri::CheckpointContainerRequest,
) -> Result<cri::CheckpointContainerResponse, Status> {
    if request.location.is_empty() {
        return Err(Status::invalid_argument("location is missing"));
    }
    if request.timeout < 0 {
        return Err(Status::invalid_argument(format!("timeout: {} is negative", request.timeout)));
    }
    let container = super::find(engine, &request.container_id)?;
    container.checkpoint().await.map_err(|error| crate::status_code::status(&error))?;
    Ok(cri::CheckpointContainerResponse {})
}
