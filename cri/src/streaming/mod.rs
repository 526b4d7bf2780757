//! The streaming server: exec, attach and port-forward. An RPC answers a URL here; the kubelet (or crictl) connects to
//! it over SPDY/3.1 or WebSocket.
//!
//! [`server`] makes a connection a session, [`sessions`] its channels, [`remote_command`] and [`port_forward`] connect
//! them with the engine. What a client may send is bounded in every direction: see [`channel`] and [`limits`].

mod channel;
mod limits;
mod negotiate;
mod port_forward;
mod remote_command;
mod server;
mod sessions;
mod spdy;
mod status;
mod tokens;
mod websocket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use engine::Engine;
use engine::container::Phase;
use engine::sandbox::SandboxPhase;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;

use crate::proto as cri;
use crate::{container, sandbox};
use tokens::{Asked, Refused, Tokens};

/// For sessions to notice that the daemon stops.
const STOP_MAX: Duration = Duration::from_secs(2);

/// The streaming server, if there is one.
#[derive(Debug, Clone)]
pub(crate) struct Streaming {
    engine: Engine,
    /// Where clients connect; `None` when the server is closed by configuration.
    address: Option<SocketAddr>,
    tokens: Arc<Tokens>,
    sessions: TaskTracker,
    stop: CancellationToken,
}

impl Streaming {
    /// Serves `listener` from now on.
    ///
    /// # Errors
    /// When the listener does not know its own address.
    pub(crate) fn start(engine: Engine, listener: Option<TcpListener>) -> std::io::Result<Self> {
        let address = listener.as_ref().map(TcpListener::local_addr).transpose()?;
        let (tokens, sessions, stop) = (Arc::<Tokens>::default(), TaskTracker::new(), CancellationToken::new());
        if let Some(listener) = listener {
            let shared = server::Shared {
                engine: engine.clone(),
                tokens: Arc::clone(&tokens),
                sessions: sessions.clone(),
                stop: stop.clone(),
            };
            sessions.spawn(server::accept(listener, shared));
        }
        Ok(Self { engine, address, tokens, sessions, stop })
    }

    /// Ends all sessions. Processes that were started go on.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        self.sessions.close();
        if tokio::time::timeout(STOP_MAX, self.sessions.wait()).await.is_err() {
            tracing::warn!(open = self.sessions.len(), "streaming: sessions did not end in time");
        }
    }

    /// Exec.
    pub(crate) fn exec(&self, request: cri::ExecRequest) -> Result<cri::ExecResponse, Status> {
        check_streams(request.tty, request.stdin, request.stdout, request.stderr)?;
        if request.cmd.first().is_none_or(String::is_empty) {
            return Err(Status::invalid_argument("cmd is empty"));
        }
        self.check_running(&request.container_id)?;
        Ok(cri::ExecResponse { url: self.url(Asked::Exec(request))? })
    }

    /// Attach.
    pub(crate) fn attach(&self, request: cri::AttachRequest) -> Result<cri::AttachResponse, Status> {
        check_streams(request.tty, request.stdin, request.stdout, request.stderr)?;
        self.check_running(&request.container_id)?;
        Ok(cri::AttachResponse { url: self.url(Asked::Attach(request))? })
    }

    /// PortForward.
    pub(crate) fn port_forward(&self, request: cri::PortForwardRequest) -> Result<cri::PortForwardResponse, Status> {
        if let Some(port) = request.port.iter().find(|port| !(1..=65_535).contains(*port)) {
            return Err(Status::invalid_argument(format!("port: {port} is not between 1 and 65535")));
        }
        if request.port.len() > limits::FORWARDS_MAX {
            let what = format!("port: {} ports, the limit is {}", request.port.len(), limits::FORWARDS_MAX);
            return Err(Status::invalid_argument(what));
        }
        let view = sandbox::find(&self.engine, &request.pod_sandbox_id)?.view();
        if view.phase != SandboxPhase::Ready {
            return Err(Status::failed_precondition(format!("sandbox {} is not ready", view.id)));
        }
        Ok(cri::PortForwardResponse { url: self.url(Asked::PortForward(request))? })
    }

    fn check_running(&self, container: &str) -> Result<(), Status> {
        let view = container::find(&self.engine, container)?.view();
        if view.phase == Phase::Running {
            return Ok(());
        }
        Err(Status::failed_precondition(format!("container {} is not running", view.id)))
    }

    fn url(&self, asked: Asked) -> Result<String, Status> {
        let closed = "the streaming server is closed: cri.streaming_listen is empty";
        let address = self.address.ok_or_else(|| Status::failed_precondition(closed))?;
        let verb = asked.verb();
        match self.tokens.issue(asked) {
            Ok(token) => Ok(format!("http://{address}/{verb}/{token}")),
            Err(Refused::TooMany) => Err(Status::resource_exhausted("too many requests wait for their clients")),
            Err(Refused::NoRandomness) => Err(Status::internal("no random bytes for a token")),
        }
    }
}

fn check_streams(tty: bool, stdin: bool, stdout: bool, stderr: bool) -> Result<(), Status> {
    if tty && stderr {
        return Err(Status::invalid_argument("tty and stderr: a terminal has no stderr of its own"));
    }
    if !stdin && !stdout && !stderr {
        return Err(Status::invalid_argument("one of stdin, stdout and stderr must be set"));
    }
    Ok(())
}
