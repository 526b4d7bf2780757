//! `POST /build`: a context as a tar or from a URL, answered with a stream of lines.

use std::collections::HashMap;
use std::sync::Arc;

use docker_api::image::JsonMessage;
use engine::Engine;
use engine::build::{BuildEvent, BuildSpec, Built};
use engine::image::RegistryAuth;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::build::client::{ClassicClient, credentials};
use crate::build::words::{Words, stream};
use crate::build::{options, prune};
use crate::call::Call;
use crate::reply::{self, Outcome, Pieces};
use crate::request_body;
use crate::status_code::Failure;

/// Events that wait to be written: a slow reader slows the build.
const EVENTS_WAITING_MAX: usize = 64;

pub(crate) async fn build(mut call: Call) -> Outcome {
    let body = call.body.take().ok_or_else(|| Failure::bad_request("no context was sent"))?;
    let (spec, credentials) = match asked(&call) {
        Ok(asked) => asked,
        Err(failure) => {
            request_body::drop_rest(body);
            return Err(failure);
        }
    };
    let engine = call.engine().clone();
    let context = match call.query.text("remote") {
        "" => engine.context_of_tar(request_body::reader(body)).await?,
        url => {
            request_body::drop_rest(body);
            engine.context_of_url(url).await?
        }
    };
    let client = Arc::new(ClassicClient { context, credentials });
    let quiet = call.query.flag("q");
    let words = Words::new(call.query.flag_or("rm", true));
    // The client's going cancels, whether it is noticed by the connection or by the writing.
    let cancel = call.gone.child_token();
    let _named = prune::name_build(call.query.text("buildid"), &cancel);
    begin(engine, spec, client, cancel, words, quiet).await
}

/// What to build, and with which credentials.
fn asked(call: &Call) -> Result<(BuildSpec, HashMap<String, RegistryAuth>), Failure> {
    match call.query.text("version") {
        "" | "1" => {}
        "2" => {
            return Err(Failure::not_implemented(
                "query version: BuildKit is served on /grpc and /session, not on /build?version=2",
            ));
        }
        other => return Err(Failure::bad_request(format!("query version: {other:?} is no builder version"))),
    }
    if call.query.text("remote") == "client-session" {
        return Err(Failure::bad_request("query remote: a context of a session needs BuildKit (version=2)"));
    }
    Ok((options::spec(&call.query)?, credentials(&call.headers)?))
}

/// Starts the build; answers when there is a first line, or when it has ended without one.
async fn begin(
    engine: Engine,
    spec: BuildSpec,
    client: Arc<ClassicClient>,
    cancel: CancellationToken,
    mut words: Words,
    quiet: bool,
) -> Outcome {
    let (sender, mut events) = mpsc::channel(EVENTS_WAITING_MAX);
    let build = {
        let cancel = cancel.clone();
        tokio::spawn(async move { engine.build(spec, client, sender, cancel).await })
    };
    let guard = cancel.drop_guard();
    let mut waiting = Vec::new();
    while waiting.is_empty() {
        let Some(event) = events.recv().await else { break };
        let lines = words.of(&event);
        waiting = if quiet { Vec::new() } else { lines };
    }
    if waiting.is_empty() {
        // Before the first line a failure still has a status code of its own.
        let built = ended(build.await)?;
        drop(guard.disarm());
        return Ok(finished(if quiet { vec![stream(format!("{}\n", built.image))] } else { Words::built(&built) }));
    }
    let (pieces, response) = reply::stream("application/json");
    tokio::spawn(async move {
        let told = tell(waiting, &mut events, &mut words, &pieces).await;
        // A client that has gone ends the build: the receiver goes with this block.
        drop(events);
        let last = match ended(build.await) {
            Ok(built) => Words::built(&built),
            Err(error) => vec![words.failure(&error)],
        };
        drop(guard.disarm());
        if told.is_ok() {
            drop(write(last, &pieces).await);
        }
    });
    Ok(response)
}

fn ended(joined: Result<engine::Result<Built>, tokio::task::JoinError>) -> engine::Result<Built> {
    joined.unwrap_or_else(|_| Err(engine::Error::internal("the build was broken off")))
}

/// An answer whose lines are all known.
fn finished(lines: Vec<JsonMessage>) -> http::Response<reply::Body> {
    let (pieces, response) = reply::stream("application/json");
    tokio::spawn(async move { drop(write(lines, &pieces).await) });
    response
}

async fn tell(
    first: Vec<JsonMessage>,
    events: &mut mpsc::Receiver<BuildEvent>,
    words: &mut Words,
    pieces: &Pieces,
) -> Result<(), reply::Gone> {
    write(first, pieces).await?;
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = pieces.closed() => return Err(reply::Gone),
        };
        let Some(event) = event else { return Ok(()) };
        write(words.of(&event), pieces).await?;
    }
}

async fn write(lines: Vec<JsonMessage>, pieces: &Pieces) -> Result<(), reply::Gone> {
    for line in lines {
        pieces.line(&line, "\r\n").await?;
    }
    Ok(())
}
