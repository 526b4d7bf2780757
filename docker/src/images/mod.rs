//! `/images`, and `/auth`.

pub(crate) mod archive;
pub(crate) mod commit;
pub(crate) mod import;
pub(crate) mod list;
pub(crate) mod pull;
pub(crate) mod remove;

use docker_api::system::AuthConfig;
use engine::id::Owner;
use engine::image::ImageView;
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
    call.engine().images().tag(call.name(), &target, Owner::Docker).await?;
    Ok(reply::empty(StatusCode::CREATED))
}

/// `POST /auth`: reads the credentials, so that a malformed body is told as such, then says what is missing.
pub(crate) async fn login(mut call: Call) -> Outcome {
    let config: AuthConfig = call.required_json().await?;
    auth::credentials(config)?;
    Err(Failure::not_implemented(
        "checking credentials with a registry is not built into this engine yet; they are checked by each pull",
    ))
}
