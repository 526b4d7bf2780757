//! The verbs that change a container and answer nothing: start, stop, kill, restart, pause, unpause, rename, rm, resize.

use std::time::Duration;

use engine::ErrorKind;
use engine::container::RemoveOptions;
use engine::id::Owner;
use http::StatusCode;

use crate::call::Call;
use crate::query::Query;
use crate::reply::{self, Outcome};
use crate::status_code::Failure;

pub(crate) async fn start(mut call: Call) -> Outcome {
    let container = call.own_container()?;
    let checkpoint = call.query.text("checkpoint");
    if !checkpoint.is_empty() {
        return Err(super::checkpoint::missing(checkpoint, call.name()));
    }
    // Clients before 1.24 sent a HostConfig here; a body that is none is refused as dockerd does.
    let body = call.json_bytes().await?;
    if body.len() > 2 && !matches!(body.as_ref(), b"null" | b"null\n" | b"{}\n") {
        return Err(Failure::bad_request(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
        ));
    }
    container.start().await?;
    reply::no_content()
}

pub(crate) async fn stop(call: Call) -> Outcome {
    let (grace, signal) = grace_and_signal(&call.query)?;
    call.own_container()?.stop(grace, signal).await?;
    reply::no_content()
}

pub(crate) async fn restart(call: Call) -> Outcome {
    let (grace, signal) = grace_and_signal(&call.query)?;
    call.own_container()?.restart(grace, signal).await?;
    reply::no_content()
}

/// `t` in seconds (negative = wait without end) and `signal`.
fn grace_and_signal(query: &Query) -> Result<(Option<Duration>, Option<&str>), Failure> {
    let grace =
        query.integer::<i64>("t")?.map(|seconds| u64::try_from(seconds).map_or(Duration::MAX, Duration::from_secs));
    Ok((grace, query.get("signal").filter(|signal| !signal.is_empty())))
}

pub(crate) async fn kill(call: Call) -> Outcome {
    let signal = call.query.get("signal").filter(|signal| !signal.is_empty()).unwrap_or("KILL");
    call.own_container()?.kill(signal).await?;
    reply::no_content()
}

pub(crate) async fn pause(call: Call) -> Outcome {
    call.own_container()?.pause().await?;
    reply::no_content()
}

pub(crate) async fn unpause(call: Call) -> Outcome {
    call.own_container()?.unpause().await?;
    reply::no_content()
}

pub(crate) async fn rename(call: Call) -> Outcome {
    let name = call.query.text("name").trim_start_matches('/');
    if name.is_empty() {
        return Err(Failure::bad_request("Neither old nor new names may be empty"));
    }
    call.own_container()?.rename(name).await?;
    reply::no_content()
}

pub(crate) async fn remove(call: Call) -> Outcome {
    if call.query.flag("link") {
        return Err(Failure::bad_request("links are not supported by this engine: there is none to remove"));
    }
    let options = RemoveOptions { force: call.query.flag("force"), volumes: call.query.flag("v") };
    let container = call.container()?;
    match container.remove(Owner::Docker, options).await {
        Err(error) if error.kind() == ErrorKind::Conflict => Err(removal_conflict(&container.view().name, error)),
        other => other.map(|()| reply::empty(StatusCode::NO_CONTENT)).map_err(Failure::from),
    }
}

/// dockerd names the container in front of the reason.
fn removal_conflict(name: &str, error: engine::Error) -> Failure {
    let mut failure = Failure::from(error);
    if !failure.message.starts_with("cannot remove") && !failure.message.contains("already in progress") {
        failure.message = format!("cannot remove container \"/{name}\": {}", failure.message);
    }
    failure
}

pub(crate) async fn resize(call: Call) -> Outcome {
    let (height, width) = terminal_size(&call.query)?;
    call.container()?.resize(height, width).await?;
    Ok(reply::empty(StatusCode::OK))
}

/// `h` and `w` of a resize.
pub(crate) fn terminal_size(query: &Query) -> Result<(u16, u16), Failure> {
    let missing = |key: &str| Failure::bad_request(format!("invalid resize {key}: it must be given"));
    let height = query.integer("h")?.ok_or_else(|| missing("height 'h'"))?;
    let width = query.integer("w")?.ok_or_else(|| missing("width 'w'"))?;
    Ok((height, width))
}
