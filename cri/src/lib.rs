//! The CRI door: `runtime.v1` over gRPC on a unix socket. It translates and decides nothing.
//!
//! It must not know: Docker types, the shim, the kernel. [`service`] lists every RPC; a file below `sandbox`, `container`
//! or `image` holds one verb each. [`streaming`] serves the URLs that exec, attach and port-forward answer.

mod container;
mod deadline;
mod events;
mod from_engine;
mod image;
mod metrics;
mod sandbox;
mod service;
mod status;
mod status_code;
mod streamed;
mod streaming;
mod to_spec;
mod usage;

use std::future::Future;

use engine::Engine;
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::UnixListenerStream;

/// The messages and services of `runtime.v1`, generated from `proto/runtime.v1.proto`.
#[expect(clippy::allow_attributes, clippy::allow_attributes_without_reason, reason = "generated code")]
#[expect(clippy::enum_variant_names, reason = "names of the interface")]
#[expect(unreachable_pub, reason = "generated code")]
mod proto {
    tonic::include_proto!("runtime.v1");
}

/// Largest message taken or sent: the kubelet's own limit, 16 MiB.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Calls under way on one connection at most.
const STREAMS_MAX: u32 = 1024;

/// What the door is served on.
#[derive(Debug)]
pub struct Listeners {
    /// gRPC.
    pub grpc: UnixListener,
    /// The streaming server; without it exec, attach and port-forward are refused.
    pub streaming: Option<TcpListener>,
}

/// Serves the door until `stop` ends; calls under way are finished, streaming sessions are cut.
///
/// # Errors
/// When a socket cannot be served any longer.
pub async fn serve(
    engine: Engine,
    listeners: Listeners,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let streaming = streaming::Streaming::start(engine.clone(), listeners.streaming)?;
    let service = service::Service::new(engine, streaming.clone());
    let runtime = proto::runtime_service_server::RuntimeServiceServer::new(service.clone())
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let images = proto::image_service_server::ImageServiceServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let served = tonic::transport::Server::builder()
        .layer(deadline::DeadlineLayer)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_pending_accept_reset_streams(Some(64))
        .add_service(runtime)
        .add_service(images)
        .serve_with_incoming_shutdown(UnixListenerStream::new(listeners.grpc), stop)
        .await;
    streaming.close().await;
    Ok(served?)
}
