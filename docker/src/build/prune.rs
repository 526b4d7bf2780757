//! `POST /build/prune` and `/build/cancel`; the cache's rows of `GET /system/df`.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use docker_api::build::{BuildCache, BuildCachePrune};
use engine::build::{CacheRecordView, PruneCache};
use http::StatusCode;
use tokio_util::sync::CancellationToken;

use crate::call::Call;
use crate::filters::Filters;
use crate::reply::{self, Outcome};
use crate::size;
use crate::status_code::Failure;
use crate::time;

/// Builds that go on and that their clients have named.
static NAMED: LazyLock<Mutex<HashMap<String, CancellationToken>>> = LazyLock::new(Mutex::default);

/// Keeps a build in the list while it goes on.
pub(super) struct NamedBuild(String);

impl Drop for NamedBuild {
    fn drop(&mut self) {
        NAMED.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

/// Lets a build be cancelled by its name.
pub(super) fn name_build(id: &str, cancel: &CancellationToken) -> Option<NamedBuild> {
    if id.is_empty() {
        return None;
    }
    NAMED.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), cancel.clone());
    Some(NamedBuild(id.to_owned()))
}

pub(crate) async fn cancel(call: Call) -> Outcome {
    let id = call.query.text("id");
    if id.is_empty() {
        return Err(Failure::bad_request("query id: the build to cancel must be given"));
    }
    if let Some(build) = NAMED.lock().unwrap_or_else(PoisonError::into_inner).get(id) {
        build.cancel();
    }
    // One that is over is as good as cancelled.
    Ok(reply::empty(StatusCode::OK))
}

pub(crate) async fn prune(call: Call) -> Outcome {
    let filters = Filters::parse(
        &call.query,
        &["until", "unused-for", "id", "type", "description", "inuse", "shared", "private", "parent"],
    )?;
    for key in ["description", "inuse", "shared", "private", "parent"] {
        if filters.has(key) {
            return Err(Failure::not_implemented(format!("filter {key}: the cache is not searched by it")));
        }
    }
    let ages: Vec<&str> = filters.values("until").chain(filters.values("unused-for")).collect();
    let unused_for = match ages.as_slice() {
        [] => None,
        [until] => {
            let now = time::now_ns();
            let until = time::parse("until", until, now)?.unwrap_or(now);
            Some(Duration::from_nanos(u64::try_from(now - until).unwrap_or(0)))
        }
        _ => return Err(Failure::bad_request("filters expect only one value for until")),
    };
    let keep = ["reserved-space", "keep-storage"].map(|key| call.query.text(key));
    let keep_bytes = match keep.into_iter().find(|text| !text.is_empty() && *text != "0") {
        None => None,
        Some(text) => Some(
            size::bytes(text)
                .ok_or_else(|| Failure::bad_request(format!("query keep-storage: {text:?} is no size")))?,
        ),
    };
    let filter = PruneCache {
        all: call.query.flag("all"),
        unused_for,
        keep_bytes,
        ids: filters.values("id").map(str::to_owned).collect(),
        kinds: filters.values("type").map(str::to_owned).collect(),
    };
    let pruned = call.engine().prune_build_cache(filter).await?;
    reply::ok(&BuildCachePrune { caches_deleted: Some(pruned.ids), space_reclaimed: pruned.bytes })
}

/// The cache as `docker system df -v` lists it.
pub(crate) fn rows(views: Vec<CacheRecordView>) -> Vec<BuildCache> {
    views.into_iter().map(row).collect()
}

fn row(view: CacheRecordView) -> BuildCache {
    BuildCache {
        id: view.id,
        parent: view.parents.first().cloned().unwrap_or_default(),
        parents: view.parents,
        kind: view.kind,
        description: view.description,
        in_use: view.in_use,
        shared: view.shared,
        size: i64::try_from(view.bytes).unwrap_or(i64::MAX),
        created_at: view.created.to_string(),
        last_used_at: view.last_used.map(|time| time.to_string()),
        usage_count: i64::try_from(view.uses).unwrap_or(i64::MAX),
    }
}
