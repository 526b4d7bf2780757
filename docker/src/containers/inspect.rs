//! `GET /containers/{id}/json`.

use crate::call::Call;
use crate::containers::list::with_surroundings;
use crate::reply::{self, Outcome};
use crate::view;

pub(crate) async fn inspect(call: Call) -> Outcome {
    let container = call.view()?;
    let mut answer =
        with_surroundings(call.engine(), &container, |around| view::container::inspect(&container, around));
    if call.query.flag("size") {
        let image_bytes = call.engine().images().get(&container.image_id.to_string()).map_or(0, |image| image.size);
        let counted = call.engine().writable_bytes(vec![container.id.clone()]).await;
        let writable = counted.get(&container.id).copied().unwrap_or(0);
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        answer.size_rw = Some(signed(writable));
        answer.size_root_fs = Some(signed(image_bytes.saturating_add(writable)));
    }
    reply::ok(&answer)
}
