//! `POST /containers/create`.

use docker_api::container::{Config, CreateExtras, CreateResponse};
use engine::Engine;
use http::StatusCode;

use crate::call::{Call, invalid_json};
use crate::reply::{self, Outcome};
use crate::status_code::Failure;
use crate::to_spec::{CreateRequest, container_spec};

pub(crate) async fn create(mut call: Call) -> Outcome {
    let bytes = call.json_bytes().await?;
    if bytes.is_empty() {
        return Err(Failure::bad_request("invalid JSON: got EOF while reading request body"));
    }
    let config: Config = docker_api::from_slice(&bytes).map_err(invalid_json)?;
    let extras: CreateExtras = docker_api::from_slice(&bytes).map_err(invalid_json)?;
    let document =
        String::from_utf8(bytes.to_vec()).map_err(|_| Failure::bad_request("invalid JSON: the body is not UTF-8"))?;
    let engine = call.engine();
    let info = engine.info();
    let image_ports = image_ports(engine, &config, extras.host_config.publish_all_ports)?;
    let request = CreateRequest {
        name: call.query.text("name"),
        platform: call.query.text("platform"),
        config: &config,
        host: &extras.host_config,
        networks: &extras.networking_config,
        image_ports: &image_ports,
        cgroup_version: info.cgroup_version,
        cpus: info.cpus,
        find: &|name| Ok(engine.container(name)?.view()),
        document,
    };
    let spec = container_spec(request)?;
    let created = engine.create_container(spec).await?;
    let body = CreateResponse { id: created.container.id().to_string(), warnings: created.warnings };
    reply::json(StatusCode::CREATED, &body)
}

/// Ports that the image exposes; asked only where they matter.
fn image_ports(engine: &Engine, config: &Config, wanted: bool) -> Result<Vec<String>, Failure> {
    if !wanted || config.image.is_empty() {
        return Ok(Vec::new());
    }
    Ok(engine.images().get(&config.image)?.config.exposed_ports.clone())
}
