//! What concerns the engine as a whole.

pub(crate) mod df;
pub(crate) mod events;
pub(crate) mod info;
pub(crate) mod ping;
pub(crate) mod version;

use crate::call::Call;
use crate::reply::{self, Outcome};

/// `GET /plugins`: there are none.
pub(crate) async fn plugins(_: Call) -> Outcome {
    reply::ok(&Vec::<docker_api::Empty>::new())
}
