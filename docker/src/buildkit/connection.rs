//! Connections that stop being HTTP/1 and become HTTP/2, in either direction.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http::{HeaderValue, StatusCode, header};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::{Channel, Endpoint};
use tower::Service as _;

use crate::call::Call;
use crate::reply::{self, Outcome};
use crate::status_code::Failure;

/// Streams of one connection at once; each build has about five.
const STREAMS_MAX: u32 = 256;

/// Answers with 101 and gives the connection to `work`.
///
/// # Errors
/// 400 unless the client asks for `h2c`.
pub(super) fn upgrade<F>(call: Call, work: impl FnOnce(Upgraded) -> F + Send + 'static) -> Outcome
where
    F: Future<Output = ()> + Send,
{
    let wanted = call.headers.get(header::UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some(upgrade) = call.upgrade else { return Err(Failure::bad_request("no upgrade proto in request")) };
    if !wanted.eq_ignore_ascii_case("h2c") {
        return Err(Failure::bad_request(format!("protocol {wanted} not supported")));
    }
    tokio::spawn(async move {
        match upgrade.await {
            Ok(io) => work(io).await,
            Err(error) => tracing::debug!(%error, "docker door: a connection was not handed over"),
        }
    });
    let mut response = reply::empty(StatusCode::SWITCHING_PROTOCOLS);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("h2c"));
    Ok(response)
}

/// Serves gRPC until the client hangs up. Calls that are under way then are dropped, and what they do is cancelled.
pub(super) async fn serve(io: impl Read + Write + Unpin, routes: tonic::service::Routes, gone: CancellationToken) {
    let service = service_fn(move |request| {
        let answered = routes.clone().call(request);
        async move { Ok::<_, Infallible>(answered.await.unwrap_or_else(|never| match never {})) }
    });
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .serve_connection(io, service);
    tokio::select! {
        ended = connection => {
            if let Err(error) = ended {
                tracing::debug!(%error, "docker door: a builder's connection ended");
            }
        }
        () = gone.cancelled() => {}
    }
}

/// A channel to the server at the other end of `io`, and what is cancelled when the connection ends.
///
/// # Errors
/// Those of the first bytes of HTTP/2.
pub(super) async fn reverse<I>(io: I) -> Result<(Channel, CancellationToken), tonic::transport::Error>
where
    I: Read + Write + Unpin + Send + 'static,
{
    let gone = CancellationToken::new();
    let watched = Watched { io, _end: gone.clone().drop_guard() };
    // There is one connection: when it is lost, there is none.
    let once = Arc::new(Mutex::new(Some(watched)));
    let connector = tower::service_fn(move |_| {
        let taken = once.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move { taken.ok_or_else(|| std::io::Error::other("the client's session is over")) }
    });
    let channel = Endpoint::from_static("http://session").connect_with_connector(connector).await?;
    Ok((channel, gone))
}

/// A stream whose end is told.
struct Watched<I> {
    io: I,
    _end: DropGuard,
}

impl<I: Read + Unpin> Read for Watched<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<I: Write + Unpin> Write for Watched<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
