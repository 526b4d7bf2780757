//! The container RPCs, one verb a file.

mod checkpoint;
mod create;
mod exec_sync;
mod list;
mod remove;
mod start;
mod stats;
mod status;
mod stop;
mod update;

use engine::{ContainerHandle, Engine};
use tonic::Status;

use crate::{from_engine, status_code};

pub(crate) use checkpoint::checkpoint;
pub(crate) use create::create;
pub(crate) use exec_sync::exec_sync;
pub(crate) use list::list;
pub(crate) use remove::remove;
pub(crate) use start::start;
pub(crate) use stats::{list_stats, stats};
pub(crate) use status::{status, statuses_of};
pub(crate) use stop::stop;
pub(crate) use update::{reopen_log, update};

/// A container that CRI made; another's is not found.
pub(crate) fn find(engine: &Engine, id: &str) -> Result<ContainerHandle, Status> {
    let container = engine.container(id).map_err(|e| status_code::status(&e))?;
    if from_engine::is_pods_container(&container.view()) {
        Ok(container)
    } else {
        Err(Status::not_found(format!("No such container: {id}")))
    }
}

/// As [`find`], `None` when there is none.
fn find_if_exists(engine: &Engine, id: &str) -> Result<Option<ContainerHandle>, Status> {
    match find(engine, id) {
        Ok(container) => Ok(Some(container)),
        Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
        Err(status) => Err(status),
    }
}
