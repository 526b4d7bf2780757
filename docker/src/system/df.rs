//! `GET /system/df`.

use docker_api::system::DiskUsage;
use engine::id::Owner;

use crate::call::Call;
use crate::containers::list::row;
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
    let containers: Vec<_> = engine.containers().into_iter().filter(|view| view.spec.owner == Owner::Docker).collect();
    let now = time::now_ns();
    let images = || {
        let rows = engine.images().list().into_iter().map(|image| {
            let uses = engine.containers().iter().filter(|view| view.image_id == image.id).count();
            view::image::summary(&image, i64::try_from(uses).unwrap_or(i64::MAX), 0)
        });
        rows.collect()
    };
    let bytes = if wants("image") { engine.images().fs_usage().bytes } else { 0 };
    reply::ok(&DiskUsage {
        layers_size: i64::try_from(bytes).unwrap_or(i64::MAX),
        images: wants("image").then(images),
        containers: wants("container").then(|| containers.iter().map(|view| row(engine, view, now)).collect()),
        volumes: wants("volume")
            .then(|| engine.volumes().list().iter().map(|volume| view::volume::volume(volume, true)).collect()),
        build_cache: wants("build-cache").then(Vec::new),
    })
}
