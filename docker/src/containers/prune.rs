//! `POST /containers/prune`.

use docker_api::container::ContainerPrune;
use engine::container::ContainerView;
use engine::event::{NewEvent, ObjectKind};
use engine::id::Owner;

use crate::call::Call;
use crate::filters::Filters;
use crate::reply::{self, Outcome};
use crate::time;

pub(crate) async fn prune(call: Call) -> Outcome {
    let filters = Filters::parse(&call.query, &["label", "label!", "until"])?;
    let now = time::now_ns();
    let until = filters.values("until").next().unwrap_or_default();
    let until_ns = time::parse("until", until, now)?;
    let wanted = move |view: &ContainerView| {
        view.spec.owner == Owner::Docker
            && filters.prune_labels(&view.resolved.labels)
            && until_ns.is_none_or(|until| view.created_ns < until)
    };
    let (ids, space_reclaimed) = call.engine().prune_containers(wanted).await?;
    let deleted: Vec<String> = ids.iter().map(ToString::to_string).collect();
    call.engine().publish(NewEvent::pruned(ObjectKind::Container, space_reclaimed)).await;
    let containers_deleted = (!deleted.is_empty()).then_some(deleted);
    reply::ok(&ContainerPrune { containers_deleted, space_reclaimed })
}
