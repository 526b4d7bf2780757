//! `POST /images/create`: pull, with progress in dockerd's words.

use engine::ErrorKind;
use engine::id::Owner;
use engine::image::{Platform, PullProgress, PullRequest, Reference};
use http::StatusCode;
use tokio::sync::mpsc;

use crate::auth;
use crate::call::Call;
use crate::images::transferred;
use crate::reply::{self, Outcome, Pieces};
use crate::status_code::Failure;
use crate::view::pull;

/// Steps that wait to be written; a pull never waits for its listener.
const STEPS_WAITING_MAX: usize = 256;

pub(crate) async fn create(call: Call) -> Outcome {
    let from = call.query.text("fromImage");
    if from.is_empty() {
        return match call.query.text("fromSrc") {
            "" => Err(Failure::bad_request("query fromImage: the image to pull must be given")),
            _ => super::import::import(call).await,
        };
    }
    let reference = reference(from, call.query.text("tag"))?;
    let platform: Option<Platform> = match call.query.text("platform") {
        "" => None,
        text => Some(text.parse()?),
    };
    let auth = auth::from_headers(&call.headers)?;
    let request = PullRequest { reference, platform, auth, owner: Owner::Docker };
    let (sender, mut steps) = mpsc::channel(STEPS_WAITING_MAX);
    let images = call.engine().images().clone();
    // The pull goes on when the client leaves, as every engine call does.
    let engine = call.engine().clone();
    let work = tokio::spawn(async move {
        let reference = request.reference.clone();
        let pulled = images.pull(request, sender).await;
        if pulled.is_ok() {
            transferred(&engine, "pull", &reference).await;
        }
        pulled
    });
    // Before the first line a failure still has a status code of its own.
    let Some(first) = steps.recv().await else {
        return match work.await {
            Ok(Err(error)) => Err(refusal(error)),
            Ok(Ok(_)) => Ok(reply::empty(http::StatusCode::OK)),
            Err(_) => Err(Failure::from(engine::Error::internal("the pull was broken off"))),
        };
    };
    let (pieces, response) = reply::stream("application/json");
    tokio::spawn(async move {
        if copy(first, steps, &pieces).await.is_err() {
            return;
        }
        let failure = match work.await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => error,
            Err(_) => engine::Error::new(ErrorKind::Internal, "the pull was broken off"),
        };
        drop(pieces.line(&pull::failure(failure.to_string()), "\r\n").await);
    });
    Ok(response)
}

/// An image that may not be had is told as one that is not there, as dockerd does it: at 401 the docker CLI would ask its
/// user for a password, even where nobody can type one.
fn refusal(error: engine::Error) -> Failure {
    let denied = error.kind() == ErrorKind::Unauthorized;
    let failure = Failure::from(error);
    if denied { Failure::new(StatusCode::NOT_FOUND, failure.message) } else { failure }
}

async fn copy(
    first: PullProgress,
    mut steps: mpsc::Receiver<PullProgress>,
    pieces: &Pieces,
) -> Result<(), reply::Gone> {
    let mut next = Some(first);
    while let Some(step) = next {
        pieces.line(&pull::line(&step), "\r\n").await?;
        next = steps.recv().await;
    }
    Ok(())
}

/// `fromImage` and `tag` joined: the tag may be a digest, and may be in the name already.
fn reference(from: &str, tag: &str) -> Result<Reference, Failure> {
    let text = match tag {
        "" => from.to_owned(),
        digest if digest.contains(':') => format!("{from}@{digest}"),
        tag => format!("{from}:{tag}"),
    };
    let parsed: Reference = text.parse().map_err(Failure::from)?;
    Ok(parsed.or_latest())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_tag_are_joined() {
        let familiar = |from: &str, tag: &str| reference(from, tag).unwrap().familiar();
        assert_eq!(familiar("busybox", ""), "busybox:latest");
        assert_eq!(familiar("busybox", "1.36"), "busybox:1.36");
        assert_eq!(familiar("localhost:5000/a/b", "x"), "localhost:5000/a/b:x");
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(familiar("busybox", &digest), format!("busybox@{digest}"));
        assert!(reference("Bad Name", "").is_err());
    }
}
