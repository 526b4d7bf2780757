//! `GET /containers/{id}/changes` and `GET /containers/{id}/export`.

use docker_api::archive::ChangeItem;
use engine::container::ChangeKind;

use crate::call::Call;
use crate::reply::{self, Outcome};

pub(crate) async fn changes(call: Call) -> Outcome {
    let changes = call.container()?.changes().await?;
    let items: Vec<ChangeItem> = changes
        .into_iter()
        .map(|change| ChangeItem {
            path: change.path,
            kind: match change.kind {
                ChangeKind::Modified => 0,
                ChangeKind::Added => 1,
                ChangeKind::Deleted => 2,
            },
        })
        .collect();
    // As dockerd: null, not an empty list.
    reply::ok(&Some(items).filter(|items| !items.is_empty()))
}

pub(crate) async fn export(call: Call) -> Outcome {
    let bytes = call.container()?.export().await?;
    Ok(reply::bytes_of("application/octet-stream", bytes))
}
