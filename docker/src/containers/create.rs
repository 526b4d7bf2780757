//! `POST /containers/create`.

use docker_api::container::{Config, CreateExtras, CreateResponse, LogConfig};
use engine::Engine;
use http::StatusCode;

use crate::call::{Call, invalid_json};
use crate::images::platform;
use crate::reply::{self, Outcome};
use crate::status_code::Failure;
use crate::to_spec::{CreateRequest, container_spec, log};

pub(crate) async fn create(mut call: Call) -> Outcome {
    let bytes = call.json_bytes().await?;
    if bytes.is_empty() {
        return Err(Failure::bad_request("invalid JSON: got EOF while reading request body"));
    }
    let config: Config = docker_api::from_slice(&bytes).map_err(invalid_json)?;
    let mut extras: CreateExtras = docker_api::from_slice(&bytes).map_err(invalid_json)?;
    let mut document =
        String::from_utf8(bytes.to_vec()).map_err(|_| Failure::bad_request("invalid JSON: the body is not UTF-8"))?;
    let default_log = &call.door.settings.default_log;
    if *default_log != LogConfig::default() {
        extras.host_config.log_config = log::merged(&extras.host_config.log_config, default_log);
        document = with_log_config(&document, &extras.host_config.log_config)?;
    }
    let engine = call.engine();
    let info = engine.info();
    check_platform(&call, &config.image)?;
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

/// An image that is here for another platform than asked is told as one that is not: clients pull it then.
fn check_platform(call: &Call, image: &str) -> Result<(), Failure> {
    let Some(wanted) = platform::asked(&call.query)? else { return Ok(()) };
    match call.engine().images().get(image) {
        Ok(view) => platform::check(&view, &wanted, image),
        // That it is missing is told where it is looked for.
        Err(_) => Ok(()),
    }
}

/// The body with the logging in force, so that it stays what it is when the daemon's default changes.
fn with_log_config(document: &str, log: &LogConfig) -> Result<String, Failure> {
    let failed = |e: serde_json::Error| Failure::bad_request(format!("invalid JSON: {e}"));
    let mut body: serde_json::Value = serde_json::from_str(document).map_err(failed)?;
    let Some(fields) = body.as_object_mut() else { return Ok(document.to_owned()) };
    // Go reads names of fields in any case.
    let key = fields.keys().find(|key| key.eq_ignore_ascii_case("HostConfig")).cloned();
    let host = fields.entry(key.unwrap_or_else(|| "HostConfig".to_owned())).or_insert(serde_json::Value::Null);
    if !host.is_object() {
        *host = serde_json::json!({});
    }
    if let Some(host) = host.as_object_mut() {
        host.retain(|key, _| !key.eq_ignore_ascii_case("LogConfig"));
        let log = serde_json::to_value(log).map_err(failed)?;
        host.insert("LogConfig".to_owned(), log);
    }
    Ok(body.to_string())
}

/// Ports that the image exposes; asked only where they matter.
fn image_ports(engine: &Engine, config: &Config, wanted: bool) -> Result<Vec<String>, Failure> {
    if !wanted || config.image.is_empty() {
        return Ok(Vec::new());
    }
    Ok(engine.images().get(&config.image)?.config.exposed_ports.clone())
}
