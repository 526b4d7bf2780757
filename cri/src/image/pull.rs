//! PullImage.

use std::str::FromStr as _;

use engine::Engine;
use engine::id::Owner;
use engine::image::{PullRequest, Reference, RegistryAuth};
use tokio::sync::mpsc;
use tonic::Status;

use crate::proto as cri;
use crate::status_code;

/// Progress that nobody reads is dropped; others see it in ImageStatus.
const PROGRESS_LEN: usize = 16;

/// Pulls and answers the image's id, by which the kubelet names it from then on.
pub(crate) async fn pull(engine: &Engine, request: cri::PullImageRequest) -> Result<String, Status> {
    let name = request.image.map(|image| image.image).unwrap_or_default();
    if name.is_empty() {
        return Err(Status::invalid_argument("image.image is missing"));
    }
    let reference = Reference::from_str(&name).map_err(|e| status_code::status(&e))?.or_latest();
    let auth = request.auth.map(credentials).transpose()?.filter(|auth| !auth.is_empty());
    let (progress, mut read) = mpsc::channel(PROGRESS_LEN);
    tokio::spawn(async move { while read.recv().await.is_some() {} });
    let wanted = PullRequest { reference, platform: None, auth, owner: Owner::Cri };
    let image = engine.images().pull(wanted, progress).await.map_err(|e| status_code::status(&e))?;
    Ok(image.id.to_string())
}

/// `auth` is base64 of `user:password`, as in docker's configuration, and stands in for the two fields.
fn credentials(auth: cri::AuthConfig) -> Result<RegistryAuth, Status> {
    let named = RegistryAuth {
        username: auth.username,
        password: auth.password,
        identity_token: auth.identity_token,
        registry_token: auth.registry_token,
        server_address: auth.server_address,
    };
    named.with_basic(&auth.auth).ok_or_else(|| Status::invalid_argument("auth.auth is not base64 of user:password"))
}
