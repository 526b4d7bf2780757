//! The sandbox RPCs, one verb a file.

mod list;
mod remove;
mod run;
mod stats;
mod status;
mod stop;
mod update;

use engine::{Engine, SandboxHandle};
use tonic::Status;

use crate::{from_engine, status_code};

pub(crate) use list::list;
pub(crate) use remove::remove;
pub(crate) use run::run;
pub(crate) use stats::{list_stats, samples, stats};
pub(crate) use status::status;
pub(crate) use stop::stop;
pub(crate) use update::update;

/// A sandbox that CRI made; another's is not found.
pub(crate) fn find(engine: &Engine, id: &str) -> Result<SandboxHandle, Status> {
    let sandbox = engine.sandbox(id).map_err(|e| status_code::status(&e))?;
    if from_engine::is_pod(&sandbox.view()) {
        Ok(sandbox)
    } else {
        Err(Status::not_found(format!("No such sandbox: {id}")))
    }
}
