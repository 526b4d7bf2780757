//! `GET /leaks`: what exists and nobody owns. Ours; for `gantry leaks`.

use docker_api::system::Leak;

use crate::call::Call;
use crate::reply::{self, Outcome};

pub(crate) async fn leaks(call: Call) -> Outcome {
    let found = call.engine().leaks().await?;
    let leaks = found.into_iter().map(|leak| Leak { kind: leak.kind.to_owned(), name: leak.name, detail: leak.detail });
    reply::ok(&leaks.collect::<Vec<_>>())
}
