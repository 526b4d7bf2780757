//! `POST /images/load`, `GET /images/get`, `GET /images/{name}/get`.

use docker_api::image::JsonMessage;
use engine::id::Owner;
use engine::image::{LoadedImage, Platform};

use crate::call::Call;
use crate::images::{happened, platform};
use crate::reply::{self, Outcome};
use crate::request_body;
use crate::status_code::Failure;

pub(crate) async fn load(mut call: Call) -> Outcome {
    if let Some(wanted) = platform::asked(&call.query)?
        && wanted != Platform::host()
    {
        let message = format!("query platform: {wanted} cannot be loaded: this machine is {}", Platform::host());
        return Err(Failure::not_implemented(message));
    }
    let body = call.body.take().ok_or_else(|| Failure::bad_request("no archive was sent"))?;
    let loaded = call.engine().images().load(request_body::reader(body), Owner::Docker).await?;
    for image in &loaded {
        if let Ok(view) = call.engine().images().get(&image.id.to_string()) {
            happened(call.engine(), "load", &view, &view.id.to_string()).await;
        }
    }
    let (pieces, response) = reply::stream("application/json");
    tokio::spawn(async move {
        for image in &loaded {
            if pieces.line(&loaded_line(image), "\r\n").await.is_err() {
                return;
            }
        }
    });
    Ok(response)
}

fn loaded_line(image: &LoadedImage) -> JsonMessage {
    let stream = match &image.reference {
        Some(reference) => format!("Loaded image: {}\n", reference.familiar()),
        None => format!("Loaded image ID: {}\n", image.id),
    };
    JsonMessage { stream, ..JsonMessage::default() }
}

/// `names` may repeat, and each may hold several with commas.
pub(crate) async fn save_many(call: Call) -> Outcome {
    let names: Vec<String> = call
        .query
        .all("names")
        .iter()
        .flat_map(|names| names.split(','))
        .filter(|n| !n.is_empty())
        .map(str::to_owned)
        .collect();
    if names.is_empty() {
        return Err(Failure::bad_request("query names: no image was named"));
    }
    save(call, names).await
}

pub(crate) async fn save_one(call: Call) -> Outcome {
    let name = call.name().to_owned();
    save(call, vec![name]).await
}

async fn save(call: Call, names: Vec<String>) -> Outcome {
    if let Some(wanted) = platform::asked(&call.query)? {
        for name in &names {
            platform::check(&*call.engine().images().get(name)?, &wanted, name)?;
        }
    }
    let archive = call.engine().images().save(&names).await?;
    for name in &names {
        if let Ok(view) = call.engine().images().get(name) {
            happened(call.engine(), "save", &view, &view.id.to_string()).await;
        }
    }
    Ok(reply::bytes_of("application/x-tar", archive))
}
