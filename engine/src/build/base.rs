//! Images that a build stands on or copies from: those that are here, else pulled with the client's credentials.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::error::{Error, ErrorKind, Result};
use crate::id::Owner;
use crate::image::{ImageDocument, ImageView, Platform, PullProgress, PullRequest, Reference};

use super::executor::Execution;
use super::process::cancelled;
use super::state::State;
use super::teller::Vertex;

/// Steps of a pull that wait to be told.
const STEPS_WAITING_MAX: usize = 64;

/// A stage's beginning out of an image.
///
/// # Errors
/// Those of the pull.
pub(super) async fn of_image(
    execution: &Execution,
    name: &str,
    platform: Option<&Platform>,
    vertex: &Vertex,
) -> Result<State> {
    let wanted = platform.or(execution.spec.platform.as_ref());
    let view = find(execution, name, wanted, vertex).await?;
    let images = &execution.core.images;
    let (document, layers) = images.document(view.id)?;
    if !execution.layers.hold(&layers).await {
        return Err(Error::conflict(format!("image {name} was removed while it was about to be used")));
    }
    let document = ImageDocument::parse(view.id, &document)?;
    Ok(State::of_image(document, layers, execution.plan.file.directives.escape))
}

async fn find(
    execution: &Execution,
    name: &str,
    platform: Option<&Platform>,
    vertex: &Vertex,
) -> Result<Arc<ImageView>> {
    let fits = |view: &ImageView| {
        let own = Platform::new(&view.os, &view.architecture, view.variant.as_deref());
        view.usable_by(Owner::Docker) && platform.is_none_or(|wanted| wanted.rank(&own).is_some())
    };
    // What has an id is not asked of a registry.
    let by_id = name.starts_with("sha256:");
    let here = execution.core.images.get(name).ok().filter(|view| fits(view));
    match here {
        Some(view) if by_id || !execution.spec.pull => Ok(view),
        _ if by_id => Err(Error::not_found(format!("No such image: {name}"))),
        _ => pull(execution, name, platform, vertex).await,
    }
}

async fn pull(
    execution: &Execution,
    name: &str,
    platform: Option<&Platform>,
    vertex: &Vertex,
) -> Result<Arc<ImageView>> {
    let reference: Reference = name.parse().map_err(|e: Error| e.context(format!("FROM {name}")))?;
    let reference = reference.or_latest();
    let auth = execution.client.credentials(reference.domain()).await?;
    let request = PullRequest { reference, platform: platform.cloned(), auth, owner: Owner::Docker };
    let (sender, mut steps) = mpsc::channel(STEPS_WAITING_MAX);
    let telling = async {
        while let Some(step) = steps.recv().await {
            if let PullProgress::Layer(layer) = step {
                let done = layer.status == crate::image::LayerStatus::PullComplete;
                vertex.status(layer.digest.to_string(), layer.current, layer.total, done).await?;
            }
        }
        Ok::<(), Error>(())
    };
    let pulling = execution.core.images.pull(request, sender);
    let both = async { tokio::join!(pulling, telling) };
    let (pulled, told) = tokio::select! {
        both = both => both,
        () = execution.cancel.cancelled() => return Err(cancelled()),
    };
    let view = pulled.map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::Unauthorized => error,
        _ => error.context(format!("pull {name}")),
    })?;
    told?;
    Ok(view)
}
