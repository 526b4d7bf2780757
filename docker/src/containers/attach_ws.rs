//! `GET /containers/{id}/attach/ws`: talk to the first process in messages of a WebSocket.
//!
//! A message holds bare bytes, of standard output and standard error alike. Before version 1.28 they travel as text.

use bytes::Bytes;
use engine::ContainerHandle;
use engine::container::{AttachedIo, Stream};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;

use super::attach;
use crate::api_version::ApiVersion;
use crate::call::Call;
use crate::detach_keys::Watch;
use crate::hijack::Ended;
use crate::reply::{self, Body, Outcome};
use crate::status_code::Failure;

/// Bytes of one message of a client.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// The first version whose messages are binary.
const BINARY: ApiVersion = ApiVersion(1, 28);

type Socket = WebSocketStream<TokioIo<Upgraded>>;

pub(crate) async fn attach(mut call: Call) -> Outcome {
    let container = call.container()?;
    let accept = accept_key(&call.headers)?;
    let upgrade = call.upgrade.take().ok_or_else(|| Failure::bad_request("this endpoint speaks WebSocket only"))?;
    let (options, keys) = attach::options(&call)?;
    // Connected before the answer, so that nothing the process writes after it is missed.
    let attached = container.attach(options).await?;
    let watch = attached.tty.then(|| Watch::new(keys));
    let (binary, gone) = (call.version >= BINARY, call.gone.clone());
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => converse(upgraded, attached, watch, binary, gone, container).await,
            Err(error) => tracing::debug!(%error, "docker door: a connection was not handed over"),
        }
    });
    Ok(switching(accept))
}

/// The answer to the client's key.
fn accept_key(headers: &HeaderMap) -> Result<HeaderValue, Failure> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let wrong = |why: &str| Failure::bad_request(format!("not a WebSocket handshake: {why}"));
    if !text(header::UPGRADE).eq_ignore_ascii_case("websocket") {
        return Err(wrong("header Upgrade is not websocket"));
    }
    if text(header::SEC_WEBSOCKET_VERSION) != "13" {
        return Err(wrong("header Sec-WebSocket-Version is not 13"));
    }
    let key = text(header::SEC_WEBSOCKET_KEY);
    if key.is_empty() {
        return Err(wrong("header Sec-WebSocket-Key is missing"));
    }
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(|_| wrong("header Sec-WebSocket-Key"))
}

fn switching(accept: HeaderValue) -> Response<Body> {
    let mut response = reply::empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

async fn converse(
    upgraded: Upgraded,
    attached: AttachedIo,
    watch: Option<Watch>,
    binary: bool,
    gone: CancellationToken,
    container: ContainerHandle,
) {
    let limits =
        WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX)).max_frame_size(Some(MESSAGE_BYTES_MAX));
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(limits)).await;
    let (mut sink, messages) = socket.split();
    let AttachedIo { stdin, output, .. } = attached;
    let ended = tokio::select! {
        () = write(output, &mut sink, binary) => Ended::Output,
        ended = read(messages, stdin, watch) => ended,
        () = gone.cancelled() => Ended::Client,
    };
    if ended == Ended::Detached {
        container.note_detach().await;
    }
    drop(sink.close().await);
}

async fn write(mut output: mpsc::Receiver<(Stream, Bytes)>, sink: &mut SplitSink<Socket, Message>, binary: bool) {
    while let Some((_, data)) = output.recv().await {
        let message = match binary {
            true => Message::Binary(data),
            false => Message::Text(String::from_utf8_lossy(&data).into_owned().into()),
        };
        if sink.send(message).await.is_err() {
            return;
        }
    }
}

/// Carries messages to the process until the client has gone.
async fn read(
    mut messages: SplitStream<Socket>,
    mut stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    mut watch: Option<Watch>,
) -> Ended {
    while let Some(Ok(message)) = messages.next().await {
        let input = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => text.into(),
            Message::Close(_) => break,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
        };
        let (data, detached) = watch.as_mut().map_or_else(|| (input.to_vec(), false), |watch| watch.feed(&input));
        if let Some(open) = &mut stdin
            && (open.write_all(&data).await.is_err() || open.flush().await.is_err())
        {
            // The process has gone or closed its input; its output may go on.
            stdin = None;
        }
        if detached {
            return Ended::Detached;
        }
    }
    if let Some(mut open) = stdin {
        drop(open.shutdown().await);
    }
    Ended::Client
}
