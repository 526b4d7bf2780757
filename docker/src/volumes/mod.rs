//! `/volumes`.

use docker_api::volume::{VolumeCreate, VolumeList, VolumePrune};
use engine::event::{NewEvent, ObjectKind};
use engine::volume::{VolumeSpec, VolumeView};
use http::StatusCode;

use crate::api_version::ApiVersion;
use crate::call::Call;
use crate::containers::list::names;
use crate::filters::Filters;
use crate::reply::{self, Outcome};
use crate::status_code::Failure;
use crate::view;

/// Before this version a prune took named volumes too.
const PRUNES_ANONYMOUS_ONLY: ApiVersion = ApiVersion(1, 42);

pub(crate) async fn list(call: Call) -> Outcome {
    let filters = Filters::parse(&call.query, &["dangling", "driver", "label", "name"])?;
    let dangling = filters.boolean("dangling")?;
    let name_patterns = names(&filters, "name")?;
    let wanted = |volume: &VolumeView| {
        dangling.is_none_or(|dangling| dangling == volume.users.is_empty())
            && filters.exact("driver", &volume.driver)
            && filters.labels("label", &volume.labels)
            && (name_patterns.is_empty() || name_patterns.iter().any(|name| name.is_match(&volume.name)))
    };
    let volumes = call.engine().volumes().list();
    let rows =
        volumes.iter().filter(|volume| wanted(volume)).map(|volume| view::volume::volume(volume, None)).collect();
    reply::ok(&VolumeList { volumes: rows, warnings: None })
}

pub(crate) async fn inspect(call: Call) -> Outcome {
    let volume = call.engine().volumes().get(call.name())?;
    reply::ok(&view::volume::volume(&volume, None))
}

pub(crate) async fn create(mut call: Call) -> Outcome {
    let wanted: VolumeCreate = call.json().await?.unwrap_or_default();
    if wanted.cluster_volume_spec.is_some() {
        return Err(Failure::bad_request("ClusterVolumeSpec: this engine is not part of a swarm"));
    }
    let spec = VolumeSpec {
        name: (!wanted.name.is_empty()).then_some(wanted.name),
        driver: wanted.driver,
        options: wanted.driver_opts,
        labels: wanted.labels,
    };
    let volume = call.engine().volumes().create(spec).await?;
    call.engine().publish(NewEvent::volume("create", &volume.name, &volume.driver, &[])).await;
    reply::json(StatusCode::CREATED, &view::volume::volume(&volume, None))
}

pub(crate) async fn remove(call: Call) -> Outcome {
    let there = call.engine().volumes().get(call.name()).ok();
    call.engine().volumes().remove(call.name(), call.query.flag("force")).await?;
    if let Some(volume) = there {
        call.engine().publish(NewEvent::volume("destroy", &volume.name, &volume.driver, &[])).await;
    }
    reply::no_content()
}

pub(crate) async fn prune(call: Call) -> Outcome {
    let filters = Filters::parse(&call.query, &["all", "label", "label!"])?;
    let all = filters.boolean("all")?.unwrap_or(false) || call.version < PRUNES_ANONYMOUS_ONLY;
    let wanted = move |volume: &VolumeView| (all || volume.anonymous) && filters.prune_labels(&volume.labels);
    let (deleted, space_reclaimed) = call.engine().volumes().prune(wanted).await?;
    for name in &deleted {
        call.engine().publish(NewEvent::volume("destroy", name, "local", &[])).await;
    }
    call.engine().publish(NewEvent::pruned(ObjectKind::Volume, space_reclaimed)).await;
    reply::ok(&VolumePrune { volumes_deleted: Some(deleted), space_reclaimed })
}
