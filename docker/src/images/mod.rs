//! `/images`, and `/auth`.

pub(crate) mod archive;
pub(crate) mod commit;
pub(crate) mod distribution;
pub(crate) mod import;
pub(crate) mod list;
pub(crate) mod platform;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod remove;
pub(crate) mod search;

use docker_api::system::{AuthConfig, AuthResponse};
use engine::Engine;
use engine::event::NewEvent;
use engine::id::Owner;
use engine::image::{ImageView, Reference};
use http::StatusCode;
use std::sync::Arc;

use crate::auth;
use crate::call::Call;
use crate::reply::{self, Outcome};
use crate::status_code::Failure;
use crate::view;

/// The image that the path names.
pub(crate) fn image(call: &Call) -> Result<Arc<ImageView>, Failure> {
    Ok(call.engine().images().get(call.name())?)
}

/// Tells of something that was done with an image; `name` is what it was called by.
pub(crate) async fn happened(engine: &Engine, action: &str, image: &ImageView, name: &str) {
    let name = name.parse::<Reference>().map_or_else(|_| name.to_owned(), |name| name.or_latest().familiar());
    engine.publish(NewEvent::image(action, image.id.to_string(), name, &image.config.labels)).await;
}

/// Tells of a transfer between here and a registry, which is named by its reference.
pub(crate) async fn transferred(engine: &Engine, action: &str, reference: &Reference) {
    let labels = engine.images().get(&reference.familiar()).map(|image| image.config.labels.clone());
    let event =
        NewEvent::image(action, reference.familiar(), reference.familiar_repository(), &labels.unwrap_or_default());
    engine.publish(event).await;
}

pub(crate) async fn inspect(call: Call) -> Outcome {
    if call.query.flag("manifests") {
        return Err(Failure::not_implemented("the list of an image's manifests is not built into this engine yet"));
    }
    reply::ok(&view::image::inspect(&*image(&call)?))
}

pub(crate) async fn history(call: Call) -> Outcome {
    let items = call.engine().images().history(call.name())?;
    reply::ok(&items.iter().map(view::image::history).collect::<Vec<_>>())
}

pub(crate) async fn tag(call: Call) -> Outcome {
    let (repo, tag) = (call.query.text("repo"), call.query.text("tag"));
    if repo.is_empty() {
        return Err(Failure::bad_request("query repo: the new name must be given"));
    }
    let target = if tag.is_empty() { repo.to_owned() } else { format!("{repo}:{tag}") };
    let image = image(&call)?;
    call.engine().images().tag(call.name(), &target, Owner::Docker).await?;
    happened(call.engine(), "tag", &image, &target).await;
    Ok(reply::empty(StatusCode::CREATED))
}

/// `POST /auth`: asks the registry whether the credentials are good.
pub(crate) async fn login(mut call: Call) -> Outcome {
    let config: AuthConfig = call.required_json().await?;
    let credentials = auth::credentials(config)?;
    let address = credentials.server_address.trim();
    let address = address.split_once("://").map_or(address, |(_, rest)| rest);
    let registry = match address.split('/').next().unwrap_or_default() {
        "" | "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    };
    if credentials.is_empty() {
        return Err(Failure::bad_request("no credentials were given"));
    }
    call.engine().images().check_credentials(registry, &credentials).await?;
    reply::ok(&AuthResponse { status: "Login Succeeded".to_owned(), identity_token: String::new() })
}
