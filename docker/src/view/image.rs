//! PURE. Images in lists, inspect, history and removals.

use std::collections::BTreeMap;

use docker_api::Empty;
use docker_api::container::{GraphDriver, HealthConfig, StrSlice};
use docker_api::image::{
    DeleteItem, Descriptor, HistoryItem, ImageConfig, ImageInspect, ImageMetadata, ImageSummary, OciPlatform, RootFs,
};
use engine::image::{HistoryItem as EngineHistory, ImageView, Reference, Removed};

use super::container::STORAGE_DRIVER;
use crate::time::ZERO;

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn familiar(names: &[Reference]) -> Vec<String> {
    names.iter().map(Reference::familiar).collect()
}

/// One row of `GET /images/json`. `containers` is -1 when it was not counted.
pub(crate) fn summary(image: &ImageView, containers: i64, shared_size: i64) -> ImageSummary {
    let labels = &image.config.labels;
    ImageSummary {
        containers,
        created: image.created.map_or(0, |time| time.as_second()),
        id: image.id.to_string(),
        labels: (!labels.is_empty()).then(|| labels.clone()),
        parent_id: String::new(),
        repo_digests: familiar(&image.digests),
        repo_tags: familiar(&image.names),
        shared_size,
        size: signed(image.size),
    }
}

/// `GET /images/{name}/json`.
pub(crate) fn inspect(image: &ImageView) -> ImageInspect {
    ImageInspect {
        id: image.id.to_string(),
        repo_tags: familiar(&image.names),
        repo_digests: familiar(&image.digests),
        parent: String::new(),
        comment: image.comment.clone(),
        created: image.created.map(|time| time.to_string()).unwrap_or_default(),
        docker_version: String::new(),
        author: image.author.clone(),
        config: Some(config(image)),
        architecture: image.architecture.clone(),
        variant: image.variant.clone().unwrap_or_default(),
        os: image.os.clone(),
        size: signed(image.size),
        graph_driver: GraphDriver { data: None, name: STORAGE_DRIVER.into() },
        root_fs: RootFs { kind: "layers".into(), layers: image.layers.iter().map(ToString::to_string).collect() },
        metadata: ImageMetadata {
            last_tag_time: if image.names.is_empty() { ZERO.to_owned() } else { image.added.to_string() },
        },
        descriptor: Some(Descriptor {
            media_type: image.manifest.media_type.clone(),
            digest: image.manifest.digest.to_string(),
            size: image.manifest.size,
            platform: Some(OciPlatform {
                architecture: image.architecture.clone(),
                os: image.os.clone(),
                variant: image.variant.clone().unwrap_or_default(),
            }),
        }),
    }
}

fn config(image: &ImageView) -> ImageConfig {
    let from = &image.config;
    let keys =
        |list: &[String]| -> BTreeMap<String, Empty> { list.iter().map(|key| (key.clone(), Empty {})).collect() };
    let slice = |list: &Option<Vec<String>>| list.clone().map(StrSlice);
    ImageConfig {
        user: from.user.clone(),
        exposed_ports: keys(&from.exposed_ports),
        env: Some(from.env.clone()),
        cmd: slice(&from.cmd),
        healthcheck: from.healthcheck.as_ref().map(|health| HealthConfig {
            test: health.test.clone(),
            interval: health.interval,
            timeout: health.timeout,
            start_period: health.start_period,
            start_interval: health.start_interval,
            retries: health.retries,
        }),
        args_escaped: from.args_escaped,
        volumes: (!from.volumes.is_empty()).then(|| keys(&from.volumes)),
        working_dir: from.working_dir.clone(),
        entrypoint: slice(&from.entrypoint),
        on_build: (!from.on_build.is_empty()).then(|| from.on_build.clone()),
        labels: (!from.labels.is_empty()).then(|| from.labels.clone()),
        stop_signal: from.stop_signal.clone().unwrap_or_default(),
        shell: slice(&from.shell),
        ..ImageConfig::default()
    }
}

/// One row of `GET /images/{name}/history`.
pub(crate) fn history(item: &EngineHistory) -> HistoryItem {
    HistoryItem {
        comment: item.comment.clone(),
        created: item.created.map_or(0, |time| time.as_second()),
        created_by: item.created_by.clone(),
        id: item.id.map_or_else(|| "<missing>".to_owned(), |id| id.to_string()),
        size: signed(item.size),
        tags: (!item.tags.is_empty()).then(|| item.tags.clone()),
    }
}

/// One thing that a removal did.
pub(crate) fn removed(item: &Removed) -> DeleteItem {
    match item {
        Removed::Untagged(name) => DeleteItem { untagged: name.clone(), ..DeleteItem::default() },
        Removed::Deleted(id) => DeleteItem { deleted: id.to_string(), ..DeleteItem::default() },
    }
}
