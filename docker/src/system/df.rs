//! `GET /system/df`, with every figure counted now.

use std::sync::Arc;

use docker_api::container::ContainerSummary;
use docker_api::image::ImageSummary;
use docker_api::system::DiskUsage;
use docker_api::volume::Volume;
use engine::Engine;
use engine::id::Owner;
use engine::image::ImageView;
use engine::volume::VolumeView;

use crate::build;
use crate::call::Call;
use crate::containers::list::sized_rows;
use crate::reply::{self, Outcome};
use crate::status_code::Failure;
use crate::time;
use crate::view;

pub(crate) async fn df(call: Call) -> Outcome {
    let asked = call.query.all("type");
    if let Some(word) =
        asked.iter().find(|word| !["container", "image", "volume", "build-cache"].contains(&word.as_str()))
    {
        return Err(Failure::bad_request(format!("unknown object type: {word}")));
    }
    let wants = |kind: &str| asked.is_empty() || asked.iter().any(|word| word == kind);
    let engine = call.engine();
    reply::ok(&DiskUsage {
        layers_size: if wants("image") { signed(engine.images().fs_usage().bytes) } else { 0 },
        images: wants("image").then(|| images(engine)),
        containers: if wants("container") { Some(containers(engine).await) } else { None },
        volumes: if wants("volume") { Some(volumes(engine).await) } else { None },
        build_cache: match wants("build-cache") {
            true => Some(build::rows(engine.build_cache_usage().await?)),
            false => None,
        },
    })
}

fn images(engine: &Engine) -> Vec<ImageSummary> {
    let containers = engine.containers();
    let shared = engine.images().shared_bytes();
    let row = |image: Arc<ImageView>| {
        let uses = containers.iter().filter(|view| view.image_id == image.id).count();
        let shared = shared.get(&image.id).copied().unwrap_or(0);
        view::image::summary(&image, i64::try_from(uses).unwrap_or(i64::MAX), signed(shared))
    };
    engine.images().list().into_iter().map(row).collect()
}

async fn containers(engine: &Engine) -> Vec<ContainerSummary> {
    let mut shown = engine.containers();
    shown.retain(|view| view.spec.owner == Owner::Docker);
    sized_rows(engine, &shown, time::now_ns()).await
}

async fn volumes(engine: &Engine) -> Vec<Volume> {
    let views = engine.volumes().list();
    let counted = engine.volume_bytes(views.iter().map(|view| view.name.clone()).collect()).await;
    let size = |view: &VolumeView| counted.get(&view.name).map_or(-1, |bytes| signed(*bytes));
    views.iter().map(|view| view::volume::volume(view, Some(size(view)))).collect()
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
