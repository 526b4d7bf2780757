//! What is kept of builds, as `buildx du` and `builder prune` have it.

use std::time::Duration;

use bollard_buildkit_proto::google::protobuf::Timestamp;
use bollard_buildkit_proto::moby::buildkit::v1::{PruneRequest, UsageRecord};
use engine::Engine;
use engine::build::{CacheRecordView, PruneCache};
use tonic::Status;

use super::status;

/// What the cache holds, of those that the filters let through.
///
/// # Errors
/// `InvalidArgument` for filters that are not known.
pub(super) async fn usage(engine: &Engine, filters: &[String]) -> Result<Vec<UsageRecord>, Status> {
    let (ids, kinds) = filter(filters)?;
    let records = engine.build_cache_usage().await.map_err(|error| status::of(&error))?;
    let wanted = |view: &CacheRecordView| {
        (ids.is_empty() || ids.iter().any(|id| view.id.starts_with(id)))
            && (kinds.is_empty() || kinds.contains(&view.kind))
    };
    Ok(records.into_iter().filter(wanted).map(record).collect())
}

/// Removes what the request names; gives what was removed.
///
/// # Errors
/// As [`usage`].
pub(super) async fn prune(engine: &Engine, request: &PruneRequest) -> Result<Vec<UsageRecord>, Status> {
    let (ids, kinds) = filter(&request.filter)?;
    let before = engine.build_cache_usage().await.map_err(|error| status::of(&error))?;
    let positive = |number: i64| u64::try_from(number).ok().filter(|number| *number > 0);
    let wanted = PruneCache {
        all: request.all,
        unused_for: positive(request.keep_duration).map(Duration::from_nanos),
        keep_bytes: positive(request.reserved_space).or(positive(request.max_used_space)),
        ids,
        kinds,
    };
    let pruned = engine.prune_build_cache(wanted).await.map_err(|error| status::of(&error))?;
    Ok(before.into_iter().filter(|view| pruned.ids.contains(&view.id)).map(record).collect())
}

/// `id==x`, `id~=x`, `type==regular`: ids and kinds.
fn filter(filters: &[String]) -> Result<(Vec<String>, Vec<String>), Status> {
    let (mut ids, mut kinds) = (Vec::new(), Vec::new());
    for part in filters.iter().flat_map(|filter| filter.split(',')).filter(|part| !part.is_empty()) {
        let Some((key, value)) = part.split_once("==").or_else(|| part.split_once("~=")) else {
            return Err(Status::invalid_argument(format!("filter {part:?} is not name==value")));
        };
        match key.trim() {
            "id" => ids.push(value.to_owned()),
            "type" => kinds.push(value.to_owned()),
            other => return Err(Status::invalid_argument(format!("filter by {other:?} is not supported"))),
        }
    }
    Ok((ids, kinds))
}

fn record(view: CacheRecordView) -> UsageRecord {
    let time = |time: jiff::Timestamp| Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() };
    UsageRecord {
        id: view.id,
        mutable: view.kind != "regular",
        in_use: view.in_use,
        size: i64::try_from(view.bytes).unwrap_or(i64::MAX),
        created_at: Some(time(view.created)),
        last_used_at: view.last_used.map(time),
        usage_count: i64::try_from(view.uses).unwrap_or(i64::MAX),
        description: view.description,
        record_type: view.kind,
        shared: view.shared,
        parents: view.parents,
        ..UsageRecord::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_name_ids_and_kinds() {
        let (ids, kinds) = filter(&["id~=abc,type==regular".to_owned()]).unwrap();
        assert_eq!((ids, kinds), (vec!["abc".to_owned()], vec!["regular".to_owned()]));
        assert!(filter(&["colour==red".to_owned()]).unwrap_err().message().contains("colour"));
        assert!(filter(&["x".to_owned()]).unwrap_err().message().contains("name==value"));
    }
}
