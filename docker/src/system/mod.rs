//! What concerns the engine as a whole.

pub(crate) mod df;
pub(crate) mod events;
pub(crate) mod info;
pub(crate) mod leaks;
pub(crate) mod ping;
pub(crate) mod version;

use http::StatusCode;

use crate::call::Call;
use crate::reply::{self, Outcome};
use crate::status_code::Failure;

/// `GET /plugins`: there are none.
pub(crate) async fn plugins(_: Call) -> Outcome {
    reply::ok(&Vec::<docker_api::Empty>::new())
}

/// Everything about one plugin: there is none of any name. `docker inspect` asks here last.
pub(crate) async fn no_such_plugin(call: Call) -> Outcome {
    Err(Failure::new(StatusCode::NOT_FOUND, format!("plugin \"{}\" not found", call.name())))
}
