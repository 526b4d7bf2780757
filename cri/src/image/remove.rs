//! RemoveImage. Idempotent: an image that is gone is a success.

use engine::id::Owner;
use engine::image::ImageUse;
use engine::{Engine, ErrorKind};
use tonic::Status;

use crate::proto as cri;
use crate::status_code;

/// Removes all names of the image and the image itself; a container of either door that uses it holds it. What the
/// other door has too stays there with its names: only this door's claim goes.
pub(crate) async fn remove(engine: &Engine, request: cri::RemoveImageRequest) -> Result<(), Status> {
    let name = request.image.map(|image| image.image).unwrap_or_default();
    if name.is_empty() {
        return Err(Status::invalid_argument("image.image is missing"));
    }
    let image = match engine.images().get(&name) {
        Ok(image) => image,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(status_code::status(&error)),
    };
    let uses = |id: &engine::id::ImageId| -> Vec<ImageUse> {
        let views = engine.containers();
        let using = views.iter().filter(|view| view.uses_image(id));
        // To the kubelet a stopped container uses its image too.
        using.map(|view| ImageUse { container: view.id.clone(), running: true }).collect()
    };
    match engine.images().remove_for(Owner::Cri, image.id, &uses).await {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(status_code::status(&error)),
        _ => Ok(()),
    }
}
