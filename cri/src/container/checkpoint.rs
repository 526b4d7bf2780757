//! CheckpointContainer: what is wrong with the request is said first, then that this runtime takes no checkpoints.

use engine::Engine;
use tonic::Status;

use crate::proto as cri;

pub(crate) fn checkpoint(engine: &Engine, request: &cri::CheckpointContainerRequest) -> Status {
    if request.location.is_empty() {
        return Status::invalid_argument("location is missing");
    }
    if request.timeout < 0 {
        return Status::invalid_argument(format!("timeout: {} is negative", request.timeout));
    }
    if let Err(missing) = super::find(engine, &request.container_id) {
        return missing;
    }
    Status::unimplemented("CheckpointContainer needs CRIU, which this version of gantry does not drive")
}
