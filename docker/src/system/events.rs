//! `GET /events`: what has happened since `since`, then what happens, until `until`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use docker_api::event::{Actor, Message};
use engine::EventReceiver;
use engine::event::{Event, ObjectKind};
use engine::id::Owner;

use crate::call::Call;
use crate::containers::list::owners;
use crate::filters::Filters;
use crate::reply::{self, Outcome, Pieces};
use crate::server::Door;
use crate::time;

const ACCEPTED: &[&str] = &[
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "owner",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];
/// A replay whose end lies in the past is over when nothing has come for so long.
const REPLAY_QUIET: Duration = Duration::from_millis(250);

pub(crate) async fn events(call: Call) -> Outcome {
    let filters = Filters::parse(&call.query, ACCEPTED)?;
    let shown = owners(&filters)?;
    let now = time::now_ns();
    let since = time::parse("since", call.query.text("since"), now)?;
    let until = time::parse("until", call.query.text("until"), now)?;
    if let (Some(since), Some(until)) = (since, until)
        && since > until
    {
        return Err(crate::status_code::Failure::bad_request("since time (since) cannot be after until time (until)"));
    }
    // An end in the past asks for what was kept.
    let since = since.or((until.is_some_and(|until| until <= now)).then_some(0));
    let newest = call.engine().event_seq();
    let receiver = call.engine().events(since);
    let (pieces, response) = reply::stream("application/json");
    let follow = Follow { filters, shown, until, newest };
    tokio::spawn(follow.run(receiver, pieces, call.door.clone()));
    Ok(response)
}

struct Follow {
    filters: Filters,
    shown: Vec<Owner>,
    until: Option<i64>,
    /// Number of the newest event when the request came.
    newest: u64,
}

impl Follow {
    async fn run(self, mut receiver: EventReceiver, pieces: Pieces, door: Arc<Door>) {
        door.event_followers.fetch_add(1, Ordering::Relaxed);
        self.copy(&mut receiver, &pieces).await;
        door.event_followers.fetch_sub(1, Ordering::Relaxed);
    }

    async fn copy(&self, receiver: &mut EventReceiver, pieces: &Pieces) {
        let now = time::now_ns();
        let past = self.until.is_some_and(|until| until <= now);
        let left = self.until.map(|until| Duration::from_nanos(u64::try_from(until - now).unwrap_or(0)));
        let end = async {
            match left {
                Some(left) if !past => tokio::time::sleep(left).await,
                _ => std::future::pending().await,
            }
        };
        tokio::pin!(end);
        loop {
            let quiet =
                async { if past { tokio::time::sleep(REPLAY_QUIET).await } else { std::future::pending().await } };
            let event = tokio::select! {
                event = receiver.recv() => event,
                () = &mut end => return,
                () = quiet => return,
                () = pieces.closed() => return,
            };
            let event = match event {
                Some(Ok(event)) => event,
                // A follower that is too slow loses events, as dockerd's do; the engine has said so in its log.
                Some(Err(error)) => {
                    tracing::warn!(%error, "docker door: a follower of events is too slow");
                    continue;
                }
                None => return,
            };
            if self.until.is_some_and(|until| event.time_ns > until) {
                return;
            }
            if self.passes(&event) && pieces.line(&message(&event), "\n").await.is_err() {
                return;
            }
            if past && event.seq >= self.newest {
                return;
            }
        }
    }

    fn passes(&self, event: &Event) -> bool {
        let owned = event.owner.is_none_or(|owner| self.shown.contains(&owner));
        let kind = kind_word(event.kind);
        let visible = event.kind != ObjectKind::Sandbox || self.shown.contains(&Owner::Cri);
        let action = event.action.as_str();
        let short_action = action.split_once(':').map_or(action, |(word, _)| word);
        let named = |key: &str, of: &str| self.filters.any(key, |wanted| kind == of && is_named(event, wanted));
        owned
            && visible
            && self.filters.exact("type", kind)
            && self.filters.any("event", |wanted| wanted == action || wanted == short_action)
            && self.filters.any("scope", |wanted| wanted == "local")
            && self.filters.labels("label", &event.attributes)
            && self.filters.any("container", |wanted| {
                let container = event.attributes.get("container").is_some_and(|id| id.starts_with(wanted));
                (kind == "container" && is_named(event, wanted)) || container
            })
            && self.filters.any("image", |wanted| is_of_image(event, kind, wanted))
            && named("network", "network")
            && named("volume", "volume")
            && named("daemon", "daemon")
            // Objects of a swarm have no events here.
            && ["config", "node", "plugin", "secret", "service"].iter().all(|key| !self.filters.has(key))
    }
}

fn is_named(event: &Event, wanted: &str) -> bool {
    let wanted = wanted.trim_start_matches('/');
    event.id.starts_with(wanted) || event.attributes.get("name").is_some_and(|name| name == wanted)
}

fn is_of_image(event: &Event, kind: &str, wanted: &str) -> bool {
    let without_tag = |text: &str| match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name.to_owned(),
        _ => text.to_owned(),
    };
    let attribute = if kind == "image" { "name" } else { "image" };
    let name = event.attributes.get(attribute).map(String::as_str).unwrap_or_default();
    (kind == "image" && event.id.starts_with(wanted)) || name == wanted || without_tag(name) == wanted
}

fn kind_word(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Container => "container",
        ObjectKind::Sandbox => "pod",
        ObjectKind::Image => "image",
        ObjectKind::Network => "network",
        ObjectKind::Volume => "volume",
        ObjectKind::Daemon => "daemon",
    }
}

/// PURE. An event as it is written.
pub(crate) fn message(event: &Event) -> Message {
    let kind = kind_word(event.kind);
    // The older form, which ends with version 1.52.
    let old = matches!(event.kind, ObjectKind::Container | ObjectKind::Image);
    let text = |wanted: bool, text: &str| if wanted { text.to_owned() } else { String::new() };
    let from = event.attributes.get("image").map(String::as_str).unwrap_or_default();
    Message {
        status: text(old, &event.action),
        id: text(old, &event.id),
        from: text(event.kind == ObjectKind::Container, from),
        kind: kind.to_owned(),
        action: event.action.clone(),
        actor: Actor { id: event.id.clone(), attributes: event.attributes.clone() },
        scope: "local".into(),
        time: event.time_ns / 1_000_000_000,
        time_nano: event.time_ns,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Query;

    fn event(kind: ObjectKind, action: &str, attributes: &[(&str, &str)], owner: Owner) -> Event {
        let attributes = attributes.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let time_ns = 1_700_000_000_000_000_005;
        Event { seq: 1, time_ns, kind, action: action.into(), id: "abc123".into(), owner: Some(owner), attributes }
    }

    fn passes(json: &str, event: &Event) -> bool {
        let query = Query::parse(&format!("filters={json}"));
        let filters = Filters::parse(&query, ACCEPTED).unwrap();
        let shown = owners(&filters).unwrap();
        Follow { filters, shown, until: None, newest: 0 }.passes(event)
    }

    #[test]
    fn an_event_is_written_in_both_forms() {
        let event = event(ObjectKind::Container, "start", &[("image", "busybox"), ("name", "web")], Owner::Docker);
        assert_eq!(
            serde_json::to_string(&message(&event)).unwrap(),
            r#"{"status":"start","id":"abc123","from":"busybox","Type":"container","Action":"start","Actor":{"ID":"abc123","Attributes":{"image":"busybox","name":"web"}},"scope":"local","time":1700000000,"timeNano":1700000000000000005}"#
        );
    }

    #[test]
    fn filters_choose_by_kind_name_action_image_and_label() {
        let event = event(
            ObjectKind::Container,
            "exec_start: sh -c true",
            &[("image", "busybox:1"), ("name", "web"), ("tier", "front")],
            Owner::Docker,
        );
        for json in [
            "",
            r#"{"type":["container"]}"#,
            r#"{"event":["exec_start"]}"#,
            r#"{"container":["web"]}"#,
            r#"{"container":["abc"]}"#,
            r#"{"image":["busybox"]}"#,
            r#"{"image":["busybox:1"]}"#,
            r#"{"label":["tier=front"]}"#,
            r#"{"event":["die","exec_start"]}"#,
        ] {
            assert!(passes(json, &event), "{json}");
        }
        for json in [
            r#"{"type":["image"]}"#,
            r#"{"event":["die"]}"#,
            r#"{"container":["db"]}"#,
            r#"{"image":["alpine"]}"#,
            r#"{"label":["tier=back"]}"#,
            r#"{"network":["web"]}"#,
            r#"{"service":["x"]}"#,
        ] {
            assert!(!passes(json, &event), "{json}");
        }
    }

    #[test]
    fn events_of_pods_are_shown_when_asked_for() {
        let event = event(ObjectKind::Container, "start", &[], Owner::Cri);
        assert!(!passes("", &event));
        assert!(passes(r#"{"owner":["cri"]}"#, &event));
    }
}
