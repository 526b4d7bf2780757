//! BuildKit's surface: gRPC over connections that clients upgrade (`POST /grpc`) and sessions in which the client is the
//! server (`POST /session`).
//!
//! Clients send a front-end's name and its options, not a graph: what they ask for becomes a [`engine::build::BuildSpec`],
//! what the build asks of them goes over their session. A build is known by its reference ([`builds`]); `control` and
//! `bridge` are the two services; `files`, `agent` and `output` speak with the client. What only other drivers have is
//! declined as dockerd declines it: the worker has no label of a snapshotter.

mod agent;
mod bridge;
mod builds;
mod cache;
mod caps;
mod client;
mod connection;
mod control;
mod definition;
mod files;
mod options;
mod output;
mod packet;
mod progress;
mod requests;
mod sessions;
mod solve;
mod status;
mod text;
mod workers;

use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::v1 as pb;

use crate::call::Call;
use crate::reply::Outcome;
use crate::status_code::Failure;

use builds::Builds;
use sessions::Sessions;

/// Bytes of one message at most; definitions and results are far below.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// What all connections share.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    sessions: Sessions,
    builds: Builds,
}

/// `POST /grpc`: the connection becomes HTTP/2 with this engine as server.
pub(crate) async fn grpc(call: Call) -> Outcome {
    let (door, gone) = (Arc::clone(&call.door), call.gone.clone());
    connection::upgrade(call, move |io| async move {
        let control = pb::control_server::ControlServer::new(control::Control::new(Arc::clone(&door)))
            .max_decoding_message_size(MESSAGE_BYTES_MAX);
        let bridge = pb::frontend::llb_bridge_server::LlbBridgeServer::new(bridge::Bridge::new(door))
            .max_decoding_message_size(MESSAGE_BYTES_MAX);
        let routes = tonic::service::Routes::new(control).add_service(bridge).prepare();
        connection::serve(io, routes, gone).await;
    })
}

/// `POST /session`: the connection becomes HTTP/2 with the client as server.
pub(crate) async fn session(call: Call) -> Outcome {
    let about = sessions::About::from_headers(|name| {
        call.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
    })
    .map_err(Failure::bad_request)?;
    let (door, gone) = (Arc::clone(&call.door), call.gone.clone());
    let place = door.buildkit.sessions.reserve(about)?;
    connection::upgrade(call, move |io| async move { place.serve(io, gone).await })
}
