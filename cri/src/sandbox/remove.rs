//! RemovePodSandbox. Idempotent: a sandbox that is gone is a success.

use engine::Engine;
use engine::id::Owner;
use tonic::Status;

use crate::status_code;

pub(crate) async fn remove(engine: &Engine, id: &str) -> Result<(), Status> {
    match status_code::if_exists(engine.sandbox(id))? {
        Some(sandbox) => status_code::idempotent(sandbox.remove(Owner::Cri, false).await),
        None => Ok(()),
    }
}
