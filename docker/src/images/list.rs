//! `GET /images/json`.

use std::sync::Arc;

use engine::image::{ImageView, Reference};

use crate::call::Call;
use crate::filters::Filters;
use crate::reply::{self, Outcome};
use crate::status_code::Failure;
use crate::time;
use crate::view;

const ACCEPTED: &[&str] = &["before", "dangling", "label", "reference", "since", "until"];

pub(crate) async fn list(call: Call) -> Outcome {
    let mut filters = Filters::parse(&call.query, ACCEPTED)?;
    // The oldest form of the reference filter.
    if let Some(name) = call.query.get("filter").filter(|name| !name.is_empty()) {
        filters.insert("reference", name);
    }
    let images = call.engine().images();
    let added = |key: &str| -> Result<Option<i128>, Failure> {
        filters.values(key).next().map(|name| Ok(created(&*images.get(name)?))).transpose()
    };
    let (before, since) = (added("before")?, added("since")?);
    let until = time::parse("until", filters.values("until").next().unwrap_or_default(), time::now_ns())?;
    let dangling = filters.boolean("dangling")?;
    let wanted = |image: &ImageView| {
        dangling.is_none_or(|dangling| dangling == image.names.is_empty())
            && before.is_none_or(|time| created(image) < time)
            && since.is_none_or(|time| created(image) > time)
            && until.is_none_or(|time| created(image) < i128::from(time))
            && filters.labels("label", &image.config.labels)
    };
    let named =
        |image: &Arc<ImageView>| with_names(image, |name| filters.any("reference", |wants| matches(wants, name)));
    // -1 stands for what was not asked for.
    let shared = call.query.flag("shared-size").then(|| images.shared_bytes());
    let count_containers = shared.is_some();
    let containers = call.engine().containers();
    let rows: Vec<_> = images
        .list()
        .iter()
        .filter(|image| wanted(image))
        .filter_map(|image| if filters.has("reference") { named(image) } else { Some(Arc::clone(image)) })
        .map(|image| {
            let uses = containers.iter().filter(|view| view.image_id == image.id).count();
            let uses = if count_containers { i64::try_from(uses).unwrap_or(i64::MAX) } else { -1 };
            let shared = shared.as_ref().map_or(-1, |shared| signed(shared.get(&image.id).copied().unwrap_or(0)));
            view::image::summary(&image, uses, shared)
        })
        .collect();
    reply::ok(&rows)
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn created(image: &ImageView) -> i128 {
    image.created.map_or(0, |time| time.as_nanosecond())
}

/// The image with those of its names alone that `fits`; none when no name does.
fn with_names(image: &ImageView, fits: impl Fn(&Reference) -> bool) -> Option<Arc<ImageView>> {
    let mut shown = image.clone();
    shown.names.retain(&fits);
    shown.digests.retain(&fits);
    (!shown.names.is_empty() || !shown.digests.is_empty()).then(|| Arc::new(shown))
}

/// A pattern fits the familiar name with or without its tag.
fn matches(pattern: &str, name: &Reference) -> bool {
    glob(pattern.as_bytes(), name.familiar().as_bytes())
        || glob(pattern.as_bytes(), name.familiar_repository().as_bytes())
}

/// Go's `path.Match` without character classes: `*` stands for any number of characters but `/`, `?` for one.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), None) => glob(rest, text),
        (Some((b'*', rest)), Some((byte, more))) => glob(rest, text) || (*byte != b'/' && glob(pattern, more)),
        (Some((b'?', rest)), Some((byte, more))) => *byte != b'/' && glob(rest, more),
        (Some((want, rest)), Some((byte, more))) => want == byte && glob(rest, more),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn patterns_match_as_gos_path_match() {
        let fits = |pattern: &str, text: &str| glob(pattern.as_bytes(), text.as_bytes());
        assert!(fits("busybox", "busybox") && fits("busy*", "busybox:1") && fits("*:1", "busybox:1"));
        assert!(fits("localhost:5000/*", "localhost:5000/a") && !fits("localhost:5000/*", "localhost:5000/a/b"));
        assert!(fits("busybo?", "busybox") && !fits("busybo?", "busybo") && !fits("busy", "busybox"));
    }
}
