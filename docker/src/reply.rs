//! Answers: JSON, empty ones, errors, and streams that go on while the client listens.

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::Frame;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::status_code::Failure;

/// Body of an answer. An error in it ends the connection, so that a client never takes half an archive for whole.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;
/// An answer, or why there is none.
pub(crate) type Outcome = Result<Response<Body>, Failure>;

/// Pieces of a stream that wait for a slow client.
const PIECES_WAITING_MAX: usize = 16;

/// A JSON answer with Go's closing newline.
pub(crate) fn json<T: Serialize>(status: StatusCode, value: &T) -> Outcome {
    let mut text = serde_json::to_vec(value)
        .map_err(|e| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write the answer: {e}")))?;
    text.push(b'\n');
    Ok(with_type(status, "application/json", Full::new(Bytes::from(text)).map_err(never).boxed_unsync()))
}

/// A JSON answer with status 200.
pub(crate) fn ok<T: Serialize>(value: &T) -> Outcome {
    json(StatusCode::OK, value)
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(never).boxed_unsync());
    *response.status_mut() = status;
    response
}

/// 204.
pub(crate) fn no_content() -> Outcome {
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Plain text.
pub(crate) fn text(status: StatusCode, text: &'static str) -> Response<Body> {
    let body = Full::new(Bytes::from_static(text.as_bytes())).map_err(never).boxed_unsync();
    with_type(status, "text/plain; charset=utf-8", body)
}

/// An error as clients read it; 304 has no body.
pub(crate) fn failure(failure: &Failure) -> Response<Body> {
    if failure.status == StatusCode::NOT_MODIFIED {
        return empty(failure.status);
    }
    let body = docker_api::error::ErrorResponse { message: failure.message.clone() };
    json(failure.status, &body).unwrap_or_else(|_| empty(failure.status))
}

/// Status 200 whose body is what is sent; headers are flushed at once. `kind` is its content type.
pub(crate) fn stream(kind: &'static str) -> (Pieces, Response<Body>) {
    let (sender, receiver) = mpsc::channel(PIECES_WAITING_MAX);
    let frames = ReceiverStream::new(receiver).map(|piece: std::io::Result<Bytes>| piece.map(Frame::data));
    (Pieces(sender), with_type(StatusCode::OK, kind, StreamBody::new(frames).boxed_unsync()))
}

/// An answer whose body is read from `reader` as the client takes it.
pub(crate) fn bytes_of(kind: &'static str, reader: impl tokio::io::AsyncRead + Send + 'static) -> Response<Body> {
    let frames = tokio_util::io::ReaderStream::with_capacity(reader, 64 * 1024).map(|piece| piece.map(Frame::data));
    with_type(StatusCode::OK, kind, StreamBody::new(frames).boxed_unsync())
}

fn with_type(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn never(error: std::convert::Infallible) -> std::io::Error {
    match error {}
}

/// The writing end of a streamed answer.
#[derive(Debug, Clone)]
pub(crate) struct Pieces(mpsc::Sender<std::io::Result<Bytes>>);

/// The client has gone.
#[derive(Debug)]
pub(crate) struct Gone;

impl Pieces {
    /// Sends bytes; waits while the client is slow.
    pub(crate) async fn send(&self, piece: Bytes) -> Result<(), Gone> {
        self.0.send(Ok(piece)).await.map_err(|_| Gone)
    }
    /// Sends one JSON document and a line end.
    pub(crate) async fn line<T: Serialize>(&self, value: &T, end: &str) -> Result<(), Gone> {
        let mut text = serde_json::to_vec(value).unwrap_or_default();
        text.extend_from_slice(end.as_bytes());
        self.send(Bytes::from(text)).await
    }
    /// Ends when the client has gone.
    pub(crate) async fn closed(&self) {
        self.0.closed().await;
    }
}
