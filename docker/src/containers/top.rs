//! `GET /containers/{id}/top`.

use docker_api::container::TopResponse;

use crate::call::Call;
use crate::reply::{self, Outcome};

pub(crate) async fn top(call: Call) -> Outcome {
    let ps_args = call.query.get("ps_args").filter(|args| !args.is_empty()).unwrap_or("-ef");
    let table = call.container()?.top(ps_args).await?;
    reply::ok(&TopResponse { processes: table.processes, titles: table.titles })
}
