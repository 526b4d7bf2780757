//! `DELETE /images/{name}` and `POST /images/prune`.

use docker_api::image::{DeleteItem, ImagePrune};
use engine::container::{ContainerView, Phase};
use engine::event::{NewEvent, ObjectKind};
use engine::id::{ImageId, Owner};
use engine::image::{ImageUse, ImageView, Removed};
use engine::{Engine, ErrorKind};
use std::sync::Arc;

use crate::call::Call;
use crate::filters::Filters;
use crate::reply::{self, Outcome};
use crate::time;
use crate::view::image::removed;

/// Who uses an image, of a snapshot of all containers.
fn uses(containers: &[Arc<ContainerView>], id: &ImageId) -> Vec<ImageUse> {
    let of_image = containers.iter().filter(|view| view.uses_image(id));
    of_image
        .map(|view| ImageUse {
            container: view.id.clone(),
            running: !matches!(view.phase, Phase::Created | Phase::Exited | Phase::Dead),
        })
        .collect()
}

async fn remove_image(engine: &Engine, name: &str, force: bool) -> engine::Result<Vec<Removed>> {
    let containers = engine.containers();
    let labels = engine.images().get(name).map(|image| (image.id, image.config.labels.clone())).ok();
    let done = engine.images().remove(name, force, &move |id| uses(&containers, id)).await?;
    if let Some((id, labels)) = labels {
        for item in &done {
            let action = if matches!(item, Removed::Untagged(_)) { "untag" } else { "delete" };
            engine.publish(NewEvent::image(action, id.to_string(), id.to_string(), &labels)).await;
        }
    }
    Ok(done)
}

/// `noprune` keeps parents of classic builds; images here have none, so it changes nothing.
pub(crate) async fn remove(call: Call) -> Outcome {
    let done = remove_image(call.engine(), call.name(), call.query.flag("force")).await?;
    reply::ok(&done.iter().map(removed).collect::<Vec<_>>())
}

pub(crate) async fn prune(call: Call) -> Outcome {
    let filters = Filters::parse(&call.query, &["dangling", "label", "label!", "until"])?;
    let only_dangling = filters.boolean("dangling")?.unwrap_or(true);
    let until = time::parse("until", filters.values("until").next().unwrap_or_default(), time::now_ns())?;
    let engine = call.engine();
    let containers = engine.containers();
    let wanted = |image: &ImageView| {
        let created = image.created.map_or(0, |time| time.as_nanosecond());
        (image.names.is_empty() || !only_dangling)
            && !image.pinned
            // What pods pulled is the kubelet's to remove.
            && !image.owners.contains(&Owner::Cri)
            && uses(&containers, &image.id).is_empty()
            && until.is_none_or(|until| created < i128::from(until))
            && filters.prune_labels(&image.config.labels)
    };
    let mut deleted: Vec<DeleteItem> = Vec::new();
    let before = engine.images().fs_usage().bytes;
    for image in engine.images().list().iter().filter(|image| wanted(image)) {
        let names: Vec<String> = match &image.names[..] {
            [] => vec![image.id.to_string()],
            names => names.iter().map(|name| name.familiar()).collect(),
        };
        for name in names {
            match remove_image(engine, &name, false).await {
                Ok(done) => deleted.extend(done.iter().map(removed)),
                // Taken into use, or removed, since it was listed.
                Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    let space_reclaimed = before.saturating_sub(engine.images().fs_usage().bytes);
    engine.publish(NewEvent::pruned(ObjectKind::Image, space_reclaimed)).await;
    reply::ok(&ImagePrune { images_deleted: (!deleted.is_empty()).then_some(deleted), space_reclaimed })
}
