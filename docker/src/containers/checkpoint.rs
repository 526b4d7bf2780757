//! `/containers/{id}/checkpoints`: there are none, and one that is to be made is refused with what is in its way.

use docker_api::container::CheckpointCreate;

use crate::call::Call;
use crate::reply::{self, Outcome};
use crate::status_code::Failure;

pub(crate) async fn list(call: Call) -> Outcome {
    call.container()?;
    reply::ok(&[(); 0])
}

pub(crate) async fn create(mut call: Call) -> Outcome {
    let container = call.own_container()?;
    let asked: CheckpointCreate = call.required_json().await?;
    if asked.checkpoint_id.is_empty() {
        return Err(Failure::bad_request("CheckpointID: a name is required"));
    }
    container.checkpoint().await?;
    Ok(reply::empty(http::StatusCode::CREATED))
}

pub(crate) async fn remove(call: Call) -> Outcome {
    call.own_container()?;
    let name = call.params.get(1).map(String::as_str).unwrap_or_default();
    Err(missing(name, call.name()))
}

/// What dockerd says of a checkpoint that is not there.
pub(crate) fn missing(name: &str, container: &str) -> Failure {
    engine::Error::not_found(format!("checkpoint {name} does not exist for container {container}")).into()
}
