//! ImageStatus and ListImages.

use std::collections::HashMap;

use engine::id::Owner;
use engine::{Engine, ErrorKind};
use tonic::Status;

use crate::proto as cri;
use crate::{from_engine, status_code};

/// All images, or the one that the filter names. From memory.
pub(crate) fn list(engine: &Engine, filter: Option<cri::ImageFilter>) -> Result<Vec<cri::Image>, Status> {
    let name = filter.and_then(|filter| filter.image).map(|image| image.image).unwrap_or_default();
    if !name.is_empty() {
        return Ok(find(engine, &name)?.into_iter().collect());
    }
    let images = engine.images().list();
    let usable = images.iter().filter(|image| image.usable_by(Owner::Cri));
    Ok(usable.map(|image| from_engine::image(image)).collect())
}

/// An image that is not there is an answer without image, no error. Verbose: also the pulls under way.
pub(crate) fn status(engine: &Engine, request: cri::ImageStatusRequest) -> Result<cri::ImageStatusResponse, Status> {
    let name = request.image.map(|image| image.image).unwrap_or_default();
    if name.is_empty() {
        return Err(Status::invalid_argument("image.image is missing"));
    }
    let image = find(engine, &name)?;
    let mut info = HashMap::new();
    if request.verbose {
        info.insert("pulls".to_owned(), pulls(engine));
        if let Ok(view) = engine.images().get(&name)
            && image.is_some()
        {
            let config = &view.config;
            let document = serde_json::json!({
                "architecture": view.architecture, "os": view.os,
                "entrypoint": config.entrypoint, "cmd": config.cmd, "env": config.env, "user": config.user,
                "layers": view.layers.iter().map(ToString::to_string).collect::<Vec<_>>(),
            });
            info.insert("info".to_owned(), document.to_string());
        }
    }
    Ok(cri::ImageStatusResponse { image, info })
}

fn find(engine: &Engine, name: &str) -> Result<Option<cri::Image>, Status> {
    match engine.images().get(name) {
        // Pulled with a secret through the other door: who pulls it here too shows credentials first.
        Ok(view) => Ok(Some(from_engine::image(&view)).filter(|_| view.usable_by(Owner::Cri))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(status_code::status(&error)),
    }
}

/// Pulls under way, with bytes of each layer.
fn pulls(engine: &Engine) -> String {
    let layer = |layer: &engine::image::LayerProgress| {
        serde_json::json!({
            "digest": layer.digest.to_string(), "status": layer.status.to_string(),
            "currentBytes": layer.current, "totalBytes": layer.total,
        })
    };
    let pulls = engine.images().pulls_in_progress();
    let pull = |pull: &engine::image::PullStatus| {
        let layers: Vec<_> = pull.layers.iter().map(layer).collect();
        serde_json::json!({ "reference": pull.reference, "started": pull.started.to_string(), "layers": layers })
    };
    serde_json::Value::from(pulls.iter().map(pull).collect::<Vec<_>>()).to_string()
}
