//! StartContainer.

use engine::Engine;
use tonic::Status;

use crate::status_code;

/// Unlike docker's, a second start is an error: the kubelet starts each container once.
pub(crate) async fn start(engine: &Engine, id: &str) -> Result<(), Status> {
    super::find(engine, id)?.start().await.map_err(|e| status_code::status(&e))
}
