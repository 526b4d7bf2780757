//! `GET /containers/json`.
//!
//! Shown are the containers of this door. With the filter `owner=cri` (or both values) or a label filter that begins
//! with `io.kubernetes.` those of pods are shown too: `docker ps --filter owner=cri`. The filter is ours; dockerd has no
//! such thing.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use docker_api::container::ContainerSummary;
use engine::Engine;
use engine::container::{ContainerView, Phase};
use engine::id::{ImageId, Owner};
use regex::Regex;

use crate::call::Call;
use crate::filters::Filters;
use crate::reply::{self, Outcome};
use crate::status_code::Failure;
use crate::time;
use crate::to_spec::parse_port;
use crate::view::container::{Surroundings, is_running, summary};
use crate::view::status;

const ACCEPTED: &[&str] = &[
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "owner",
    "publish",
    "since",
    "status",
    "volume",
];
const STATUSES: &[&str] = &["created", "restarting", "running", "removing", "paused", "exited", "dead"];
const HEALTHS: &[&str] = &["none", "starting", "healthy", "unhealthy"];

pub(crate) async fn list(call: Call) -> Outcome {
    let filters = Filters::parse(&call.query, ACCEPTED)?;
    let limit: Option<i64> = call.query.integer("limit")?;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
    let all = call.query.flag("all") || limit.is_some() || filters.has("status") || filters.has("exited");
    let engine = call.engine();
    let test = Test::new(engine, &filters, all)?;
    let views = engine.containers();
    let chosen = views.iter().filter(|view| test.passes(view)).take(limit.unwrap_or(usize::MAX));
    let now = time::now_ns();
    // Hundreds of containers have a handful of images.
    let mut shown = HashMap::new();
    if call.query.flag("size") {
        let chosen: Vec<_> = chosen.cloned().collect();
        return reply::ok(&sized_rows(engine, &chosen, now).await);
    }
    let rows: Vec<ContainerSummary> = chosen.map(|view| row_among(engine, view, now, &mut shown)).collect();
    reply::ok(&rows)
}

/// Rows with their sizes; also used by `system df`.
pub(crate) async fn sized_rows(engine: &Engine, views: &[Arc<ContainerView>], now_ns: i64) -> Vec<ContainerSummary> {
    let counted = engine.writable_bytes(views.iter().map(|view| view.id.clone()).collect()).await;
    let mut shown = HashMap::new();
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let row = |view: &Arc<ContainerView>| {
        let mut row = row_among(engine, view, now_ns, &mut shown);
        let image = engine.images().get(&view.image_id.to_string()).map_or(0, |image| image.size);
        row.size_rw = counted.get(&view.id).map_or(-1, |bytes| signed(*bytes));
        row.size_root_fs = signed(image.saturating_add(counted.get(&view.id).copied().unwrap_or(0)));
        row
    };
    views.iter().map(row).collect()
}

/// Names of images as they are shown, by the name asked for and the id that it meant then.
type ShownImages = HashMap<(String, ImageId), String>;

fn row_among(engine: &Engine, view: &ContainerView, now_ns: i64, shown: &mut ShownImages) -> ContainerSummary {
    let key = (asked_image(view).to_owned(), view.image_id);
    let image = shown.entry(key).or_insert_with(|| shown_image(engine, view));
    with_image(engine, view, image, |around| summary(view, around, now_ns))
}

/// Calls `then` with what of the engine a view needs.
pub(crate) fn with_surroundings<T>(
    engine: &Engine,
    view: &ContainerView,
    then: impl FnOnce(&Surroundings<'_>) -> T,
) -> T {
    with_image(engine, view, &shown_image(engine, view), then)
}

fn with_image<T>(engine: &Engine, view: &ContainerView, image: &str, then: impl FnOnce(&Surroundings<'_>) -> T) -> T {
    let sandbox = engine.sandbox(view.sandbox_id.as_str()).ok().map(|sandbox| sandbox.view());
    let network_id = |name: &str| engine.networks().get(name).ok().map(|network| network.id.to_string());
    then(&Surroundings {
        sandbox: sandbox.as_deref(),
        default_runtime: &engine.config().default_runtime,
        image,
        network_id: &network_id,
    })
}

/// The image's name as it was asked for, unless that name now means another image.
fn shown_image(engine: &Engine, view: &ContainerView) -> String {
    let asked = asked_image(view);
    match engine.images().get(asked) {
        Ok(image) if image.id == view.image_id => asked.to_owned(),
        _ => view.image_id.to_string(),
    }
}

fn asked_image(view: &ContainerView) -> &str {
    if view.spec.image_display.is_empty() { &view.spec.image } else { &view.spec.image_display }
}

/// The filters of a list, ready to be asked about each container.
struct Test<'a> {
    filters: &'a Filters,
    all: bool,
    owners: Vec<Owner>,
    names: Vec<Regex>,
    ancestors: Option<BTreeSet<String>>,
    exit_codes: Vec<i32>,
    volumes: Vec<String>,
    published: Vec<(u16, u16, String)>,
    exposed: Vec<(u16, u16, String)>,
    created_after: Option<i64>,
    created_before: Option<i64>,
}

impl<'a> Test<'a> {
    fn new(engine: &Engine, filters: &'a Filters, all: bool) -> Result<Self, Failure> {
        check_words(filters, "status", STATUSES)?;
        check_words(filters, "health", HEALTHS)?;
        // A container named by `before` or `since` must exist; it stands for its time.
        let time_of = |key: &str| -> Result<Option<i64>, Failure> {
            filters.values(key).next().map(|name| Ok(engine.container(name)?.view().created_ns)).transpose()
        };
        let exit_code =
            |text: &str| text.parse().map_err(|_| Failure::bad_request(format!("invalid filter 'exited={text}'")));
        Ok(Self {
            filters,
            all: all || filters.has("before") || filters.has("since"),
            owners: owners(filters)?,
            names: names(filters, "name")?,
            ancestors: ancestors(engine, filters),
            exit_codes: filters.values("exited").map(exit_code).collect::<Result<_, _>>()?,
            volumes: filters.values("volume").map(str::to_owned).collect(),
            published: filters.values("publish").map(port_range).collect::<Result<_, _>>()?,
            exposed: filters.values("expose").map(port_range).collect::<Result<_, _>>()?,
            created_after: time_of("since")?,
            created_before: time_of("before")?,
        })
    }

    fn passes(&self, view: &ContainerView) -> bool {
        self.owners.contains(&view.spec.owner)
            && (self.all || is_running(view.phase))
            && self.passes_identity(view)
            && self.passes_state(view)
            && self.passes_place(view)
            && self.created_after.is_none_or(|time| view.created_ns > time)
            && self.created_before.is_none_or(|time| view.created_ns < time)
    }

    fn passes_identity(&self, view: &ContainerView) -> bool {
        let named = self.names.is_empty()
            || self.names.iter().any(|name| name.is_match(&view.name) || name.is_match(&format!("/{}", view.name)));
        named
            && self.filters.any("id", |prefix| view.id.as_str().starts_with(prefix))
            && self.filters.labels("label", &view.resolved.labels)
            && self.ancestors.as_ref().is_none_or(|ids| ids.contains(&view.image_id.to_string()))
            // No container here is a task of a swarm, or has Windows isolation.
            && self.filters.any("is-task", |word| word == "false" || word == "0")
            && self.filters.any("isolation", |word| word == "default")
    }

    fn passes_state(&self, view: &ContainerView) -> bool {
        let health = view.health.as_ref().map_or("none", |health| health.status.as_str());
        let exited = matches!(view.phase, Phase::Exited | Phase::Dead) && view.started_ns != 0;
        self.filters.exact("status", status::state(view.phase))
            && self.filters.exact("health", health)
            && (self.exit_codes.is_empty() || (exited && self.exit_codes.contains(&view.exit_code)))
    }

    fn passes_place(&self, view: &ContainerView) -> bool {
        let volume = |wanted: &String| {
            view.mounts
                .iter()
                .any(|mount| mount.name == *wanted || mount.destination == *wanted || mount.source == *wanted)
        };
        let network = |wanted: &str| {
            view.endpoints.iter().any(|e| e.network_name == wanted || e.network_id.as_str().starts_with(wanted))
        };
        let published = |range: &(u16, u16, String)| {
            let (first, last, protocol) = range;
            view.ports.iter().any(|port| {
                (*first..=*last).contains(&port.container_port)
                    && format!("{:?}", port.protocol).eq_ignore_ascii_case(protocol)
            })
        };
        let exposed = |range: &(u16, u16, String)| {
            let (first, last, protocol) = range;
            view.resolved.exposed_ports.iter().filter_map(|port| port.split_once('/')).any(|(port, word)| {
                word == protocol && port.parse::<u16>().is_ok_and(|port| (*first..=*last).contains(&port))
            })
        };
        (self.volumes.is_empty() || self.volumes.iter().any(volume))
            && self.filters.any("network", network)
            && (self.published.is_empty() || self.published.iter().any(published))
            && (self.exposed.is_empty() || self.exposed.iter().any(exposed))
    }
}

/// The doors whose objects are shown; events use it too.
pub(crate) fn owners(filters: &Filters) -> Result<Vec<Owner>, Failure> {
    let mut owners = Vec::new();
    for word in filters.values("owner") {
        owners.push(match word {
            "docker" => Owner::Docker,
            "cri" => Owner::Cri,
            other => return Err(Failure::bad_request(format!("invalid filter 'owner={other}'"))),
        });
    }
    if owners.is_empty() {
        owners.push(Owner::Docker);
        if filters.values("label").any(|label| label.starts_with("io.kubernetes.")) {
            owners.push(Owner::Cri);
        }
    }
    Ok(owners)
}

/// Name filters are regular expressions, as dockerd's.
///
/// # Errors
/// 400 naming the expression.
pub(crate) fn names(filters: &Filters, key: &str) -> Result<Vec<Regex>, Failure> {
    /// Bytes that a compiled expression may need.
    const REGEX_BYTES_MAX: usize = 256 * 1024;
    let compile = |text: &str| {
        regex::RegexBuilder::new(text)
            .size_limit(REGEX_BYTES_MAX)
            .build()
            .map_err(|_| Failure::bad_request(format!("invalid filter '{key}={text}'")))
    };
    filters.values(key).map(compile).collect()
}

fn check_words(filters: &Filters, key: &str, words: &[&str]) -> Result<(), Failure> {
    match filters.values(key).find(|value| !words.contains(value)) {
        Some(value) => Err(Failure::bad_request(format!("invalid filter '{key}={value}'"))),
        None => Ok(()),
    }
}

/// Ids of the images named by `ancestor` and of those built on them (whose layers begin with theirs).
fn ancestors(engine: &Engine, filters: &Filters) -> Option<BTreeSet<String>> {
    if !filters.has("ancestor") {
        return None;
    }
    let images: Vec<Arc<engine::image::ImageView>> = engine.images().list();
    let roots: Vec<_> = filters.values("ancestor").filter_map(|name| engine.images().get(name).ok()).collect();
    let descends = |image: &engine::image::ImageView| {
        roots.iter().any(|root| image.id == root.id || image.layers.starts_with(&root.layers))
    };
    Some(images.iter().filter(|image| descends(image)).map(|image| image.id.to_string()).collect())
}

/// `80`, `80/udp`, `8000-8010/tcp`.
fn port_range(text: &str) -> Result<(u16, u16, String), Failure> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let port = |port: &str| Ok::<_, Failure>(parse_port(&format!("{port}/{protocol}"))?.0);
    Ok((port(first)?, port(last)?, protocol.to_ascii_lowercase()))
}
