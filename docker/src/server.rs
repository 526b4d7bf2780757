//! Listeners, connections, and the way of a request to its endpoint.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use docker_api::container::LogConfig;
use engine::Engine;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::api_version;
use crate::call::Call;
use crate::guard::{self, Origin};
use crate::reply::{self, Body};
use crate::request_body;
use crate::router;
use crate::routes::Action;
use crate::status_code::Failure;
use crate::system::ping;
use crate::tap::{HttpSide, Tap};
use crate::to_spec::log;

/// What the endpoints share.
#[derive(Debug)]
pub struct Door {
    pub(crate) engine: Engine,
    pub(crate) settings: Settings,
    pub(crate) event_followers: std::sync::atomic::AtomicUsize,
    pub(crate) buildkit: crate::buildkit::Hub,
}

/// Limits of the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of a JSON body at most.
    pub json_bytes_max: usize,
    /// Time for a client to send the head of a request, and to finish a TLS handshake.
    pub header_ms_max: u64,
    /// Connections served at once.
    pub connections_max: usize,
    /// Time that requests under way have to end when the daemon stops.
    pub drain_ms_max: u64,
    /// Logging of containers that ask for none; empty = `json-file` without options.
    pub default_log: LogConfig,
}

impl Settings {
    /// Makes `driver` with `options` the logging of containers that ask for none.
    ///
    /// # Errors
    /// What is wrong with them, as it would be told to who asks for them.
    pub fn log_by_default(&mut self, driver: &str, options: &BTreeMap<String, String>) -> Result<(), String> {
        let wanted = LogConfig { kind: driver.to_owned(), config: options.clone() };
        log::spec(&wanted).map_err(|e| e.message().to_owned())?;
        // The plain default stays empty: bodies of requests are kept as they came then.
        let plain = driver == "json-file" && options.is_empty();
        self.default_log = if plain { LogConfig::default() } else { wanted };
        Ok(())
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            json_bytes_max: 16 << 20,
            header_ms_max: 30_000,
            connections_max: 8192,
            drain_ms_max: 2_000,
            default_log: LogConfig::default(),
        }
    }
}

/// A bound socket to serve.
#[derive(Debug)]
pub enum Listener {
    /// Unix socket; its mode is its protection.
    Unix(UnixListener),
    /// TCP, with the configuration of [`crate::tls_config`].
    Tls(TcpListener, Arc<rustls::ServerConfig>),
}

/// Longest head of a request in bytes.
const HEAD_BYTES_MAX: usize = 256 * 1024;
/// Pause after a failed accept, so that a lack of descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` is cancelled, then gives requests under way a little time.
///
/// # Errors
/// When a listener cannot be used at all.
pub async fn serve(
    engine: Engine,
    listeners: Vec<Listener>,
    settings: Settings,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let places = Arc::new(Semaphore::new(settings.connections_max));
    let drain = Duration::from_millis(settings.drain_ms_max);
    let door = Arc::new(Door { engine, settings, event_followers: Default::default(), buildkit: Default::default() });
    let connections = TaskTracker::new();
    let accepting = TaskTracker::new();
    for listener in listeners {
        accepting.spawn(accept(listener, door.clone(), places.clone(), connections.clone(), shutdown.clone()));
    }
    accepting.close();
    accepting.wait().await;
    connections.close();
    if tokio::time::timeout(drain, connections.wait()).await.is_err() {
        tracing::info!(open = connections.len(), "docker door: connections are closed with requests under way");
    }
    Ok(())
}

async fn accept(
    listener: Listener,
    door: Arc<Door>,
    places: Arc<Semaphore>,
    connections: TaskTracker,
    shutdown: CancellationToken,
) {
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = accept_one(&listener) => accepted,
            () = shutdown.cancelled() => return,
        };
        let socket = match accepted {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(%error, "docker door: cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (door, shutdown) = (door.clone(), shutdown.clone());
        connections.spawn(async move {
            match socket {
                Socket::Unix(stream) => serve_unix(stream, door, shutdown).await,
                Socket::Tls(stream, config) => serve_tls(stream, config, door, shutdown).await,
            }
            drop(place);
        });
    }
}

enum Socket {
    Unix(UnixStream),
    Tls(TcpStream, Arc<rustls::ServerConfig>),
}

async fn accept_one(listener: &Listener) -> std::io::Result<Socket> {
    match listener {
        Listener::Unix(listener) => listener.accept().await.map(|(stream, _)| Socket::Unix(stream)),
        Listener::Tls(listener, config) => {
            listener.accept().await.map(|(stream, _)| Socket::Tls(stream, config.clone()))
        }
    }
}

async fn serve_unix(stream: UnixStream, door: Arc<Door>, shutdown: CancellationToken) {
    let gone = CancellationToken::new();
    let watch = match stream.as_fd().try_clone_to_owned() {
        Ok(fd) => Some(AbortOnDropHandle::new(tokio::spawn(watch_hang_up(fd, gone.clone())))),
        Err(error) => {
            tracing::debug!(%error, "docker door: cannot watch a connection");
            None
        }
    };
    let (tap, side) = Tap::new(Box::new(stream), watch);
    let way = Way { tap, gone, origin: Origin::Unix };
    let header_ms_max = door.settings.header_ms_max;
    serve_connection(side, way, header_ms_max, shutdown, move |request, way| answer(request, way, door.clone())).await;
}

/// Cancels `gone` when the peer has closed the connection. A half-close (only its writing end) does not count: the
/// kernel reports a hang-up only when both directions are shut, and that it reports whatever one listens for.
async fn watch_hang_up(fd: OwnedFd, gone: CancellationToken) {
    #[expect(deprecated, reason = "its successor is unsafe; an OwnedFd keeps the promise that is asked for there")]
    let registered = AsyncFd::with_interest(fd, Interest::PRIORITY);
    if let Ok(fd) = registered
        && fd.ready(Interest::PRIORITY).await.is_ok()
    {
        gone.cancel();
    }
}

async fn serve_tls(stream: TcpStream, config: Arc<rustls::ServerConfig>, door: Arc<Door>, shutdown: CancellationToken) {
    drop(stream.set_nodelay(true));
    let limit = Duration::from_millis(door.settings.header_ms_max);
    let stream = match tokio::time::timeout(limit, TlsAcceptor::from(config).accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::info!(%error, "docker door: TLS handshake refused"),
        Err(_) => return tracing::info!("docker door: TLS handshake took too long"),
    };
    let origin = Origin::Tls(stream.get_ref().1.server_name().map(str::to_owned));
    let (tap, side) = Tap::new(Box::new(stream), None);
    let way = Way { tap, gone: CancellationToken::new(), origin };
    let header_ms_max = door.settings.header_ms_max;
    serve_connection(side, way, header_ms_max, shutdown, move |request, way| answer(request, way, door.clone())).await;
}

/// What a request needs to know of the connection it came on.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) tap: Tap,
    pub(crate) gone: CancellationToken,
    pub(crate) origin: Origin,
}

async fn serve_connection<F>(
    side: HttpSide,
    way: Way,
    header_ms_max: u64,
    shutdown: CancellationToken,
    answer: impl Fn(Request<Incoming>, Way) -> F,
) where
    F: Future<Output = Response<Body>> + Send,
{
    let header_limit = Duration::from_millis(header_ms_max);
    // Over TLS a closed connection shows as a half-close; over a unix socket the two are told apart.
    let half_close = way.origin == Origin::Unix;
    let gone = way.gone.clone();
    let service = service_fn(move |request| {
        let answered = answer(request, way.clone());
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_limit)
        .half_close(half_close)
        .title_case_headers(true)
        .auto_date_header(false)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(side), service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = gone.cancelled() => return,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = gone.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "docker door: connection ended");
    }
}

/// Routes one request and dresses its answer.
async fn answer(request: Request<Incoming>, way: Way, door: Arc<Door>) -> Response<Body> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = match route(request, way, door).await {
        Ok(response) => response,
        Err(failure) => {
            if failure.status.is_server_error() && failure.status != StatusCode::NOT_IMPLEMENTED {
                tracing::warn!(%method, path, status = failure.status.as_u16(), message = failure.message);
            } else {
                tracing::debug!(%method, path, status = failure.status.as_u16(), message = failure.message);
            }
            reply::failure(&failure)
        }
    };
    dress(&mut response);
    response
}

async fn route(request: Request<Incoming>, way: Way, door: Arc<Door>) -> reply::Outcome {
    guard::check(&way.origin, request.headers())?;
    if request.method() == Method::OPTIONS {
        return Ok(reply::empty(StatusCode::OK));
    }
    let uri = request.uri().clone();
    let (version, path) = api_version::split(uri.path())?;
    let not_found = || Failure::new(StatusCode::NOT_FOUND, "page not found");
    let (route, params) = router::find(request.method(), path).ok_or_else(not_found)?;
    let handler = match route.action {
        Action::Run(handler) => handler,
        Action::NotBuilt(what) => {
            request_body::drop_rest(request.into_body());
            return Err(Failure::not_implemented(format!("{what} is not built into this engine yet")));
        }
        Action::Swarm => {
            let message = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.";
            return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, message));
        }
    };
    handler(Call::new(request, way, door, version, params)).await
}

/// Headers that every answer has. A hijacked attach has only its own, as dockerd's.
fn dress(response: &mut Response<Body>) {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    let headers = response.headers_mut();
    for (name, value) in ping::COMMON_HEADERS {
        headers.insert(*name, HeaderValue::from_static(value));
    }
    headers.insert("api-version", ping::api_version_header());
    if let Ok(date) = HeaderValue::from_str(&crate::time::http_date()) {
        headers.insert(header::DATE, date);
    }
}

#[cfg(test)]
mod tests;
