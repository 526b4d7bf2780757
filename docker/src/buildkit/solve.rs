//! Runs a front-end for a build, and makes what was asked for of its result.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bollard_buildkit_proto::pb::Definition;
use engine::build::{BuildEvent, Built, Export};
use tokio::sync::{OnceCell, mpsc};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::server::Door;

use super::builds::{Build, Output, Solved};
use super::client::SessionClient;
use super::options::{self, Options};
use super::progress::{self, Progress};
use super::{output, requests, status};

/// Events that wait to be told.
const EVENTS_MAX: usize = 64;

/// A front-end as a client asks for it.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) frontend: String,
    pub(super) attrs: HashMap<String, String>,
    pub(super) inputs: HashMap<String, Definition>,
}

/// Runs a front-end. Dropping this cancels what it does.
///
/// # Errors
/// What is wrong with the options, or why the build failed.
pub(super) async fn run(door: &Door, build: &Arc<Build>, ask: Ask) -> Result<Arc<Solved>, Status> {
    options::frontend(&ask.frontend, &ask.attrs).map_err(Status::unknown)?;
    let options = options::read(&ask.attrs, &ask.inputs, &build.entitlements).map_err(Status::unknown)?;
    let session = door.buildkit.sessions.get(&build.session).await?;
    let client = SessionClient {
        engine: door.engine.clone(),
        session,
        names: options.names.clone(),
        remote: options.remote.clone().map(|address| (address, OnceCell::new())),
    };
    let id = engine::id::ContainerId::random().to_string();
    if let Some(request) = &options.request {
        let metadata = requests::answer(door, request, &options, &client).await?;
        return build.keep(Solved { id, built: None, metadata });
    }
    let built = execute(door, build, options, client).await?;
    let metadata = HashMap::from([("containerimage.config".to_owned(), built.document.clone())]);
    build.keep(Solved { id, built: Some(Mutex::new(built)), metadata })
}

async fn execute(door: &Door, build: &Arc<Build>, options: Options, client: SessionClient) -> Result<Built, Status> {
    let mut spec = options.spec;
    (spec.export, spec.tags) = match &build.output {
        Output::Image(names) => (Export::Image, names.clone()),
        // Another target may be built on it.
        Output::Nothing => (Export::Image, Vec::new()),
        Output::Tar | Output::Files => (Export::Files, Vec::new()),
    };
    let (events, told) = mpsc::channel(EVENTS_MAX);
    let cancel = CancellationToken::new();
    let guard = cancel.clone().drop_guard();
    let gone = client.session.gone.clone();
    let work = door.engine.build(spec, Arc::new(client), events, cancel);
    let telling = tell(build, told);
    let both = async { tokio::join!(work, telling).0 };
    let built = tokio::select! {
        built = both => built.map_err(|error| status::of(&error)),
        () = gone.cancelled() => Err(Status::cancelled("the client's session is over")),
    };
    drop(guard.disarm());
    built
}

async fn tell(build: &Build, mut events: mpsc::Receiver<BuildEvent>) {
    let mut progress = Progress::default();
    while let Some(event) = events.recv().await {
        if let Some(message) = progress.message(event, progress::now()) {
            build.tell(message).await;
        }
    }
}

/// Makes what was asked for of a result; gives what the client is told of it.
///
/// # Errors
/// When the client does not take its files.
pub(super) async fn export(
    door: &Door,
    build: &Build,
    solved: Option<&Solved>,
) -> Result<HashMap<String, String>, Status> {
    let Some(built) = solved.and_then(|solved| solved.built.as_ref()) else { return Ok(HashMap::new()) };
    let (image, files) = {
        let mut built = built.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        (built.image, built.files.take())
    };
    let mut told = HashMap::new();
    match (&build.output, files) {
        (Output::Image(names), _) => {
            told.insert("containerimage.digest".to_owned(), image.to_string());
            told.insert("containerimage.config.digest".to_owned(), image.to_string());
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            if !names.is_empty() {
                told.insert("image.name".to_owned(), names.join(","));
            }
        }
        (Output::Nothing, _) => {}
        (Output::Tar | Output::Files, None) => {
            return Err(Status::failed_precondition("the files of this result were sent already"));
        }
        (kind, Some(files)) => {
            let session = door.buildkit.sessions.get(&build.session).await?;
            output::send(&session, files, kind == &Output::Tar).await.map_err(|error| status::of(&error))?;
        }
    }
    Ok(told)
}
