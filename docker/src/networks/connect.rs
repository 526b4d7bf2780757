//! `POST /networks/{id}/connect` and `/disconnect`.

use docker_api::network::{NetworkConnect, NetworkDisconnect};
use engine::ErrorKind;
use engine::network::NetworkView;
use http::StatusCode;

use crate::call::Call;
use crate::reply::{self, Outcome};
use crate::status_code::Failure;
use crate::to_spec;

pub(crate) async fn connect(mut call: Call) -> Outcome {
    let body: NetworkConnect = call.required_json().await?;
    let network = call.engine().networks().get(call.name())?;
    let container = call.engine().container(named(&body.container)?)?;
    let endpoint = to_spec::endpoint(&network.name, &body.endpoint_config.unwrap_or_default())?;
    container.connect(endpoint).await?;
    Ok(reply::empty(StatusCode::OK))
}

pub(crate) async fn disconnect(mut call: Call) -> Outcome {
    let body: NetworkDisconnect = call.required_json().await?;
    let network = call.engine().networks().get(call.name())?;
    let container = match call.engine().container(named(&body.container)?) {
        // Forced, docker takes an endpoint away whose container is gone. Here none outlives its container.
        Err(error) if body.force && error.kind() == ErrorKind::NotFound => return Err(no_endpoint(&body, &network)),
        other => other?,
    };
    container.disconnect(network.id.as_str()).await?;
    Ok(reply::empty(StatusCode::OK))
}

fn named(container: &str) -> Result<&str, Failure> {
    if container.is_empty() { Err(Failure::bad_request("Container: no container was named")) } else { Ok(container) }
}

fn no_endpoint(body: &NetworkDisconnect, network: &NetworkView) -> Failure {
    let message = format!("endpoint {} not found in network {}", body.container, network.name);
    Failure::new(StatusCode::NOT_FOUND, message)
}
