//! The REST client: requests, answers, hijacked streams.
//!
//! Paths carry no version unless `DOCKER_API_VERSION` asks for one: the daemon then speaks its own, and no
//! `/_ping` round trip is needed before the first request. Each answer's `Api-Version` header tells which.

mod bodies;
mod connect;
mod endpoint;
mod lines;
mod query;

pub(crate) use bodies::{body_of, reader_of, written_body};
pub(crate) use connect::TlsFiles;
pub(crate) use endpoint::{DEFAULT_HOST, Endpoint, Host, parse_host};
pub(crate) use lines::Lines;
pub(crate) use query::Path;

use std::io;
use std::sync::Mutex;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::Serialize;

use crate::error::{Error, Result, reason};
use crate::output::template::Value;

/// Answers that are read whole may have this many bytes.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// The body of a request.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A hijacked connection.
pub(crate) type Hijacked = TokioIo<Upgraded>;

/// Speaks to one daemon.
#[derive(Debug)]
pub(crate) struct Client {
    host: Host,
    tls: Option<TlsFiles>,
    prefix: String,
    headers: Vec<(String, String)>,
    idle: Mutex<Vec<SendRequest<Body>>>,
    server_version: Mutex<Option<String>>,
}

pub(crate) fn empty_body() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub(crate) fn json_body(value: &impl Serialize) -> Result<Body> {
    let text = serde_json::to_vec(value).map_err(|error| Error::message(format!("encoding request: {error}")))?;
    Ok(Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync())
}

impl Client {
    /// `version` pins the API version; `headers` are sent with every request.
    pub(crate) fn new(
        host: Host,
        tls: Option<TlsFiles>,
        version: Option<&str>,
        headers: Vec<(String, String)>,
    ) -> Self {
        let prefix = version.map_or(String::new(), |version| format!("/v{}", version.trim_start_matches('v')));
        let (idle, server_version) = (Mutex::default(), Mutex::default());
        Client { host, tls, prefix, headers, idle, server_version }
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// The `Api-Version` of the daemon's last answer.
    pub(crate) fn server_version(&self) -> Option<String> {
        self.server_version.lock().ok().and_then(|version| version.clone())
    }

    pub(crate) async fn get(&self, path: &Path) -> Result<Response<Incoming>> {
        self.send(Method::GET, path, empty_body(), &[]).await
    }

    /// GET, and the answer read as JSON.
    pub(crate) async fn get_value(&self, path: &Path) -> Result<Value> {
        let text = self.get_text(path).await?;
        Value::from_json(&text).map_err(|error| unreadable(path, &error))
    }

    /// GET, and the answer as it came.
    pub(crate) async fn get_text(&self, path: &Path) -> Result<String> {
        let response = self.get(path).await?;
        Ok(String::from_utf8_lossy(&read_all(response.into_body()).await?).into_owned())
    }

    pub(crate) async fn post(&self, path: &Path) -> Result<Response<Incoming>> {
        self.send(Method::POST, path, empty_body(), &[]).await
    }

    /// POST without a body whose answer has none either.
    pub(crate) async fn post_done(&self, path: &Path) -> Result<()> {
        let response = self.post(path).await?;
        read_all(response.into_body()).await.map(|_| ())
    }

    /// POST of JSON, and the answer read as JSON (an empty one is nil).
    pub(crate) async fn post_json(&self, path: &Path, body: &impl Serialize) -> Result<Value> {
        let json = [("content-type", "application/json")];
        let response = self.send(Method::POST, path, json_body(body)?, &json).await?;
        let bytes = read_all(response.into_body()).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Nil);
        }
        serde_json::from_slice(&bytes).map_err(|error| unreadable(path, &error))
    }

    pub(crate) async fn delete(&self, path: &Path) -> Result<Value> {
        let response = self.send(Method::DELETE, path, empty_body(), &[]).await?;
        let bytes = read_all(response.into_body()).await?;
        if bytes.is_empty() {
            Ok(Value::Nil)
        } else {
            serde_json::from_slice(&bytes).map_err(|error| unreadable(path, &error))
        }
    }

    /// Any request; an error status becomes [`Error::Daemon`] with the daemon's message.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &Path,
        body: Body,
        headers: &[(&str, &str)],
    ) -> Result<Response<Incoming>> {
        let mut sender = self.sender().await?;
        let request = self.request(method, path, body, headers)?;
        let response = sender.send_request(request).await.map_err(|error| self.broken(&error))?;
        if let Ok(mut idle) = self.idle.lock() {
            idle.push(sender);
        }
        self.check(response).await
    }

    /// A request that turns its connection into a raw stream.
    pub(crate) async fn hijack(&self, path: &Path, body: Option<&impl Serialize>) -> Result<Hijacked> {
        let (body, content) = match body {
            Some(value) => (json_body(value)?, "application/json"),
            None => (empty_body(), "text/plain"),
        };
        let headers = [("connection", "Upgrade"), ("upgrade", "tcp"), ("content-type", content)];
        let request = self.request(Method::POST, path, body, &headers)?;
        let mut sender = self.sender().await?;
        let response = sender.send_request(request).await.map_err(|error| self.broken(&error))?;
        let response = self.check(response).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::message(format!("unable to upgrade to tcp, received {}", response.status().as_u16())));
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(|error| self.broken(&error))?;
        Ok(TokioIo::new(upgraded))
    }

    fn request(&self, method: Method, path: &Path, body: Body, headers: &[(&str, &str)]) -> Result<Request<Body>> {
        let host = match &self.host.endpoint {
            Endpoint::Unix(_) | Endpoint::Ssh(_) => "localhost".to_owned(),
            Endpoint::Tcp { .. } => self.host.shown.trim_start_matches("tcp://").to_owned(),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{}", self.prefix, path.as_str()))
            .header(header::HOST, host)
            .header(header::USER_AGENT, concat!("gantry/", env!("CARGO_PKG_VERSION")));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(body).map_err(|error| Error::message(format!("{}: {error}", path.as_str())))
    }

    /// A connection of its own, as it is.
    pub(crate) async fn dial(&self) -> Result<connect::Stream> {
        let stream = connect::connect(&self.host.endpoint, self.tls.as_ref()).await?;
        stream.map_err(|error| self.unreachable(&error))
    }

    /// An idle connection, or a new one.
    async fn sender(&self) -> Result<SendRequest<Body>> {
        // The connection's task learns of a finished answer only when it runs.
        tokio::task::yield_now().await;
        if let Ok(mut idle) = self.idle.lock() {
            idle.retain(|sender| !sender.is_closed());
            if let Some(at) = idle.iter().position(SendRequest::is_ready) {
                return Ok(idle.swap_remove(at));
            }
        }
        let stream = self.dial().await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(&error))?;
        tokio::spawn(connection.with_upgrades());
        Ok(sender)
    }

    fn unreachable(&self, error: &io::Error) -> Error {
        let host = self.host.shown.clone();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Error::Unreachable { host },
            io::ErrorKind::PermissionDenied => Error::message(format!(
                "permission denied while trying to connect to the Gantry daemon socket at {host}"
            )),
            _ => Error::message(format!("error during connect: {host}: {}", reason(error))),
        }
    }

    fn broken(&self, error: &hyper::Error) -> Error {
        let mut text = error.to_string();
        if let Some(source) = std::error::Error::source(error) {
            text = format!("{text}: {source}");
        }
        Error::message(format!("error during connect: {}: {text}", self.host.shown))
    }

    async fn check(&self, response: Response<Incoming>) -> Result<Response<Incoming>> {
        if let Some(version) = response.headers().get("api-version").and_then(|value| value.to_str().ok())
            && let Ok(mut known) = self.server_version.lock()
        {
            *known = Some(version.to_owned());
        }
        let status = response.status();
        if status.as_u16() < 400 {
            return Ok(response);
        }
        let bytes = read_all(response.into_body()).await?;
        let text = String::from_utf8_lossy(&bytes);
        let message = Value::from_json(&text).map(|value| value.field("message").as_str().to_owned());
        let message = match message {
            Ok(message) if !message.is_empty() => message,
            _ if text.trim().is_empty() => {
                format!("{} and no message", status.canonical_reason().unwrap_or(status.as_str()))
            }
            _ => text.trim().to_owned(),
        };
        Err(Error::Daemon { status: status.as_u16(), message })
    }
}

fn unreadable(path: &Path, error: &serde_json::Error) -> Error {
    Error::message(format!("{}: the daemon's answer is not readable: {error}", path.as_str()))
}

/// Reads an answer to its end.
pub(crate) async fn read_all(body: Incoming) -> Result<Bytes> {
    match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) => Err(Error::message(format!("reading the daemon's answer: {error}"))),
    }
}
