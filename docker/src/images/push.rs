//! `POST /images/{name}/push`, with progress in dockerd's words.

use engine::ErrorKind;
use engine::id::Owner;
use engine::image::{PushRequest, Reference};
use tokio::sync::mpsc;

use crate::auth;
use crate::call::Call;
use crate::images::{platform, transferred};
use crate::reply::{self, Outcome};
use crate::status_code::Failure;
use crate::view::{pull, push as lines};

/// Steps that wait to be written.
const STEPS_WAITING_MAX: usize = 256;

pub(crate) async fn push(call: Call) -> Outcome {
    let tag = call.query.text("tag");
    let text = if tag.is_empty() { call.name().to_owned() } else { format!("{}:{tag}", call.name()) };
    let reference: Reference = text.parse().map_err(Failure::from)?;
    let wanted = platform::asked(&call.query)?;
    if let Some(wanted) = &wanted {
        platform::check(&*call.engine().images().get(&text)?, wanted, &text)?;
    }
    let auth = auth::from_headers(&call.headers)?;
    let request = PushRequest { reference, auth, owner: Owner::Docker, one_platform: wanted.is_some() };
    let (sender, mut steps) = mpsc::channel(STEPS_WAITING_MAX);
    let images = call.engine().images().clone();
    let engine = call.engine().clone();
    let work = tokio::spawn(async move {
        let reference = request.reference.clone();
        let pushed = images.push(request, sender).await;
        if pushed.is_ok() {
            transferred(&engine, "push", &reference).await;
        }
        pushed
    });
    // Before the first line a failure still has a status code of its own.
    let Some(first) = steps.recv().await else {
        return match work.await {
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(())) => Ok(reply::empty(http::StatusCode::OK)),
            Err(_) => Err(Failure::from(engine::Error::internal("the push was broken off"))),
        };
    };
    let (pieces, response) = reply::stream("application/json");
    tokio::spawn(async move {
        let mut next = Some(first);
        while let Some(step) = next {
            for line in lines::lines(&step) {
                if pieces.line(&line, "\r\n").await.is_err() {
                    return;
                }
            }
            next = steps.recv().await;
        }
        let failure = match work.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_) => engine::Error::new(ErrorKind::Internal, "the push was broken off"),
        };
        drop(pieces.line(&pull::failure(failure.to_string()), "\r\n").await);
    });
    Ok(response)
}
