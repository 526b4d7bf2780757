//! The HTTP side: connections, the three paths, and the handshake after which a connection is a session.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::container::AttachOptions;
use engine::spec::ExecSpec;
use engine::{Engine, SandboxHandle};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming as Body;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::limits::{CONNECTIONS_MAX, HEAD_BYTES_MAX, HEAD_MAX, IDLE_MAX};
use super::negotiate::{ACCEPTED_VERSION, Agreed, Carrier, Refused, STREAM_VERSION, agree};
use super::remote_command::Command;
use super::sessions;
use super::tokens::{Asked, Tokens};
use super::websocket::Tunnel;
use super::{port_forward, spdy};
use crate::{container, sandbox};

/// Pause after a failed accept, so that a lack of descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all connections share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) engine: Engine,
    pub(super) tokens: Arc<Tokens>,
    pub(super) sessions: TaskTracker,
    pub(super) stop: CancellationToken,
}

/// Accepts until it is told to stop.
pub(super) async fn accept(listener: TcpListener, shared: Shared) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                // Only latency is lost without it.
                let _ = stream.set_nodelay(true);
                let (stop, served) = (shared.stop.clone(), serve(stream, shared.clone()));
                shared.sessions.spawn(async move {
                    let _place = place;
                    stop.run_until_cancelled(served).await
                });
            }
            Err(error) => {
                tracing::warn!(%error, "streaming: cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection, which is good for one session.
async fn serve(stream: TcpStream, shared: Shared) {
    let (begin, mut begun) = tokio::sync::mpsc::channel::<Session>(1);
    let service = service_fn(move |request| {
        let response = answer(request, &shared, &begin);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if let Err(error) = connection.await {
        tracing::debug!(%error, "streaming: a connection ended");
    }
    if let Some(session) = begun.recv().await {
        session.run().await;
    }
}

/// What a connection becomes.
struct Session {
    upgrade: OnUpgrade,
    carrier: Carrier,
    target: Target,
}

enum Target {
    Command(Command),
    Ports(SandboxHandle, Vec<u16>),
}

impl Session {
    async fn run(self) {
        let upgraded = match self.upgrade.await {
            Ok(upgraded) => TokioIo::new(upgraded),
            Err(error) => return tracing::debug!(%error, "streaming: a connection was not handed over"),
        };
        converse(upgraded, self.carrier, self.target).await;
    }
}

async fn converse(connection: TokioIo<Upgraded>, carrier: Carrier, target: Target) {
    match (carrier, target) {
        (Carrier::Spdy(version), Target::Command(command)) => {
            sessions::spdy_command(spdy::Session::start(connection, IDLE_MAX), version, command).await;
        }
        (Carrier::WebSocket(framing, status), Target::Command(command)) => {
            sessions::web_socket_command(connection, framing, status, command).await;
        }
        (Carrier::Spdy(_), Target::Ports(sandbox, _)) => {
            port_forward::serve(spdy::Session::start(connection, IDLE_MAX), sandbox).await;
        }
        (Carrier::Tunnel, Target::Ports(sandbox, _)) => {
            let tunnel = Tunnel::start(connection).await;
            port_forward::serve(spdy::Session::start(tunnel, IDLE_MAX), sandbox).await;
        }
        (Carrier::WebSocket(framing, _), Target::Ports(sandbox, ports)) => {
            sessions::web_socket_ports(connection, framing, sandbox, &ports).await;
        }
        (Carrier::Tunnel, Target::Command(_)) => tracing::error!("streaming: a tunnel was agreed on for a command"),
    }
}

fn answer(
    mut request: Request<Body>,
    shared: &Shared,
    begin: &tokio::sync::mpsc::Sender<Session>,
) -> Response<Full<Bytes>> {
    match begin_session(&mut request, shared) {
        Ok((agreed, session)) => match begin.try_send(session) {
            Ok(()) => switching(agreed, request.headers()),
            Err(_) => refuse(&Refused::new(StatusCode::CONFLICT, "this connection has a session already")),
        },
        Err(refused) => {
            tracing::debug!(status = refused.status.as_u16(), refused.reason, "streaming: a request was refused");
            refuse(&refused)
        }
    }
}

/// From a request to what its connection becomes. The token is used up when the request is one that could be served.
fn begin_session(request: &mut Request<Body>, shared: &Shared) -> Result<(Agreed, Session), Refused> {
    if !matches!(*request.method(), Method::GET | Method::POST) {
        return Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "GET and POST are served here"));
    }
    let missing = || Refused::new(StatusCode::NOT_FOUND, "no request waits here: a URL is good once, for a minute");
    let (verb, token) = request.uri().path().trim_start_matches('/').split_once('/').ok_or_else(missing)?;
    if !["exec", "attach", "portforward"].contains(&verb) {
        return Err(missing());
    }
    let agreed = agree(verb, request.headers())?;
    let asked = shared.tokens.take(verb, token).ok_or_else(missing)?;
    let target = target(&shared.engine, asked)?;
    Ok((agreed, Session { upgrade: hyper::upgrade::on(request), carrier: agreed.carrier, target }))
}

/// What was asked for, if it is still there.
fn target(engine: &Engine, asked: Asked) -> Result<Target, Refused> {
    let gone = |status: tonic::Status| Refused::new(StatusCode::NOT_FOUND, status.message());
    Ok(match asked {
        Asked::Exec(asked) => {
            let spec = ExecSpec {
                args: asked.cmd,
                tty: asked.tty,
                stdin: asked.stdin,
                stdout: asked.stdout,
                stderr: asked.stderr,
                ..Default::default()
            };
            Target::Command(Command::Exec(container::find(engine, &asked.container_id).map_err(gone)?, spec))
        }
        Asked::Attach(asked) => {
            let options = AttachOptions {
                stdin: asked.stdin,
                stdout: asked.stdout,
                stderr: asked.stderr,
                stream: true,
                ..Default::default()
            };
            Target::Command(Command::Attach(container::find(engine, &asked.container_id).map_err(gone)?, options))
        }
        Asked::PortForward(asked) => {
            let ports = asked.port.into_iter().filter_map(|port| u16::try_from(port).ok()).collect();
            Target::Ports(sandbox::find(engine, &asked.pod_sandbox_id).map_err(gone)?, ports)
        }
    })
}

fn switching(agreed: Agreed, asked: &HeaderMap) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let (upgrade, version) = match agreed.carrier {
        Carrier::Spdy(_) => ("SPDY/3.1", STREAM_VERSION),
        Carrier::WebSocket(..) | Carrier::Tunnel => ("websocket", header::SEC_WEBSOCKET_PROTOCOL),
    };
    headers.insert(header::UPGRADE, HeaderValue::from_static(upgrade));
    if !agreed.name.is_empty() {
        headers.insert(version, HeaderValue::from_static(agreed.name));
    }
    if upgrade == "websocket" {
        let key = asked.get(header::SEC_WEBSOCKET_KEY).map_or(&[][..], HeaderValue::as_bytes);
        if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key)) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
    }
    response
}

fn refuse(refused: &Refused) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("{}\n", refused.reason)));
    *response.status_mut() = refused.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    for name in &refused.accepted {
        headers.append(ACCEPTED_VERSION, HeaderValue::from_static(name));
    }
    response
}
