//! Where a connection stops being HTTP: attach and exec talk to a process over it.
//!
//! With `Upgrade: tcp` the answer is `101 UPGRADED`; without, it is a `200 OK` that has neither length nor chunks. In
//! both cases bare bytes follow in both directions. The client's half-close ends the input and nothing else.

use std::time::Duration;

use bytes::Bytes;
use engine::container::{AttachedIo, Stream};
use engine::{ContainerHandle, ExecHandle};
use http::{HeaderValue, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use crate::api_version::ApiVersion;
use crate::call::Call;
use crate::detach_keys::Watch;
use crate::reply::{self, Outcome};
use crate::stream_frame;
use crate::system::ping;
use crate::tap::Duplex;

/// How long a connection stays open for an exec that has closed its streams and goes on.
const EXEC_END_MAX: Duration = Duration::from_secs(10);
/// Bytes of input read at once.
const INPUT_BYTES: usize = 32 * 1024;
/// The first version that names multiplexed streams as such.
const NAMES_MULTIPLEXED: ApiVersion = ApiVersion(1, 42);

pub(crate) const RAW: &str = "application/vnd.docker.raw-stream";
pub(crate) const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";

/// Content type of a stream for a client of this version.
pub(crate) fn content_type(version: ApiVersion, tty: bool) -> &'static str {
    if tty || version < NAMES_MULTIPLEXED { RAW } else { MULTIPLEXED }
}

/// How to talk to a process over a connection.
#[derive(Debug)]
pub(crate) struct Talk {
    /// Output is raw; else it is framed.
    pub(crate) tty: bool,
    /// Keys that end the talk, if they are watched for.
    pub(crate) detach_keys: Option<Vec<u8>>,
}

/// What stands at the other end.
pub(crate) enum Peer {
    /// The first process of a container, which is told when its client detaches.
    Process(AttachedIo, Option<ContainerHandle>),
    /// An exec that is still to start, with its terminal's size. It starts after the answer's head was sent: clients that
    /// read the head through a buffer (Python's) would lose output that comes with it. A failure is told on the error
    /// stream. The connection is closed only after the end is recorded, because clients then ask for the exit code.
    Exec(ExecHandle, Option<(u16, u16)>),
}

/// Answers the request by taking its connection over. `with_headers` adds the headers of other answers, as dockerd
/// does for exec.
pub(crate) async fn take_over(call: Call, kind: &'static str, with_headers: bool, peer: Peer, talk: Talk) -> Outcome {
    let gone = call.gone.clone();
    if let Some(upgrade) = call.upgrade {
        tokio::spawn(async move {
            match upgrade.await {
                Ok(upgraded) => converse(TokioIo::new(upgraded), peer, talk, gone).await,
                Err(error) => tracing::debug!(%error, "docker door: a connection was not handed over"),
            }
        });
        return Ok(switching(kind, with_headers));
    }
    let mut stream = call.tap.take();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {RAW}\r\n\r\n");
    if stream.write_all(head.as_bytes()).await.is_ok() {
        converse(stream, peer, talk, gone.clone()).await;
    }
    // HTTP's side of the connection sleeps: only its end is left.
    gone.cancel();
    std::future::pending().await
}

fn switching(kind: &'static str, with_headers: bool) -> Response<reply::Body> {
    let mut response = reply::empty(StatusCode::SWITCHING_PROTOCOLS);
    response.extensions_mut().insert(hyper::ext::ReasonPhrase::from_static(b"UPGRADED"));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("tcp"));
    if with_headers {
        headers.insert("api-version", ping::api_version_header());
        for (name, value) in ping::COMMON_HEADERS {
            headers.insert(*name, HeaderValue::from_static(value));
        }
    }
    response
}

async fn converse(stream: impl Duplex, peer: Peer, talk: Talk, gone: CancellationToken) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    match peer {
        Peer::Process(attached, container) => {
            let ended = converse_with(attached, &mut reader, &mut writer, talk, &gone).await;
            if let (Ended::Detached, Some(container)) = (ended, container) {
                container.note_detach().await;
            }
        }
        Peer::Exec(exec, size) => match exec.start(size).await {
            Ok(attached) => match converse_with(attached, &mut reader, &mut writer, talk, &gone).await {
                Ended::Output => see_the_end(&exec, &gone).await,
                Ended::Detached => exec.note_detach().await,
                Ended::Client => {}
            },
            Err(error) => drop(writer.write_all(&sentence(&error, talk.tty)).await),
        },
    }
    drop(writer.shutdown().await);
}

/// Why an exec did not start, for the client's error stream.
fn sentence(error: &engine::Error, tty: bool) -> Bytes {
    let line = format!("{error}\r\n");
    if tty { line.into() } else { stream_frame::frame(Stream::Stderr, line.as_bytes()) }
}

/// Waits until the exit code of an exec can be asked for.
async fn see_the_end(exec: &ExecHandle, gone: &CancellationToken) {
    tokio::select! {
        ended = tokio::time::timeout(EXEC_END_MAX, exec.wait()) => match ended {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "docker door: the end of an exec is lost"),
            Err(_) => tracing::debug!(exec = %exec.id(), "docker door: an exec goes on after its streams"),
        },
        () = gone.cancelled() => {}
    }
}

/// Why a talk was over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// All output was carried.
    Output,
    /// The client let go with the detach keys.
    Detached,
    /// The client hung up.
    Client,
}

async fn converse_with(
    attached: AttachedIo,
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
    talk: Talk,
    gone: &CancellationToken,
) -> Ended {
    let AttachedIo { stdin, output, .. } = attached;
    let detached = async {
        let Some(stdin) = stdin else { return std::future::pending().await };
        if !feed(reader, stdin, talk.detach_keys).await {
            // The end of the input is not the end of the talk.
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = copy_output(output, writer, talk.tty) => Ended::Output,
        () = detached => Ended::Detached,
        () = gone.cancelled() => Ended::Client,
    }
}

async fn copy_output(
    mut output: tokio::sync::mpsc::Receiver<(Stream, Bytes)>,
    writer: &mut (impl AsyncWrite + Unpin),
    tty: bool,
) {
    while let Some((stream, data)) = output.recv().await {
        let piece = if tty { data } else { stream_frame::frame(stream, &data) };
        if writer.write_all(&piece).await.is_err() || writer.flush().await.is_err() {
            return;
        }
    }
}

/// Carries input to the process until it ends; answers whether the client detached.
async fn feed(
    mut reader: impl AsyncRead + Unpin,
    mut stdin: Box<dyn AsyncWrite + Send + Unpin>,
    detach_keys: Option<Vec<u8>>,
) -> bool {
    let mut watch = detach_keys.map(Watch::new);
    let mut buffer = vec![0; INPUT_BYTES];
    loop {
        let count = reader.read(&mut buffer).await.unwrap_or(0);
        let input = buffer.get(..count).unwrap_or_default();
        let (data, detached) = match &mut watch {
            Some(watch) if count == 0 => (watch.rest(), false),
            Some(watch) => watch.feed(input),
            None => (input.to_vec(), false),
        };
        if stdin.write_all(&data).await.is_err() {
            // The process has gone or closed its input; its output may go on.
            return false;
        }
        if detached {
            return true;
        }
        if count == 0 {
            drop(stdin.shutdown().await);
            return false;
        }
        drop(stdin.flush().await);
    }
}
