//! RemoveContainer. Idempotent, and by force: a container that runs is killed.

use engine::Engine;
use engine::container::RemoveOptions;
use engine::id::Owner;
use tonic::Status;

use crate::status_code;

pub(crate) async fn remove(engine: &Engine, id: &str) -> Result<(), Status> {
    let Some(container) = super::find_if_exists(engine, id)? else { return Ok(()) };
    status_code::idempotent(container.remove(Owner::Cri, RemoveOptions { force: true, volumes: true }).await)
}
