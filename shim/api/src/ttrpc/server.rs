//! The answering side, for one thread: handlers need not be `Send`.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::frame::{Frame, FrameKind, read_frame, write_frame};
use super::status::{Code, Error};
use crate::{accept, proto};

/// Connections at once; further ones are closed at once.
pub const CONNECTIONS_MAX: usize = 64;
/// Calls without an answer per connection; long-polled waits count.
pub const CALLS_IN_FLIGHT_MAX: usize = 1024;
/// Answers that may wait for the socket.
const QUEUED_FRAMES_MAX: usize = 64;

/// What a handler resolves to: the encoded answer.
pub type Reply = Pin<Box<dyn Future<Output = Result<Vec<u8>, Error>>>>;

/// What a server calls for each request.
pub trait Dispatch {
    /// Answers `service`/`method`. `Unimplemented` for what it does not know.
    fn dispatch(self: Rc<Self>, service: String, method: String, payload: Bytes) -> Reply;
}

/// Decodes a request's payload.
///
/// # Errors
/// `InvalidArgument` for malformed protobuf.
pub fn decode<M: Message + Default>(payload: Bytes) -> Result<M, Error> {
    M::decode(payload).map_err(|e| Error::new(Code::InvalidArgument, format!("malformed request: {e}")))
}

/// Encodes an answer.
pub fn encode<M: Message>(answer: &M) -> Vec<u8> {
    answer.encode_to_vec()
}

/// Serves connections until the future is dropped (see [`accept::serve`]). Must run within a `LocalSet`.
pub async fn serve<D: Dispatch + 'static>(listener: UnixListener, service: Rc<D>, own_uid: u32) {
    accept::serve(listener, own_uid, CONNECTIONS_MAX, |stream| serve_connection(stream, Rc::clone(&service))).await;
}

async fn serve_connection<D: Dispatch + 'static>(stream: UnixStream, service: Rc<D>) {
    let (mut input, mut output) = stream.into_split();
    let (answers, mut queue) = mpsc::channel::<Frame>(QUEUED_FRAMES_MAX);
    let writer = tokio::task::spawn_local(async move {
        while let Some(frame) = queue.recv().await {
            if write_frame(&mut output, &frame).await.is_err() {
                break;
            }
        }
    });
    let in_flight = Rc::new(Cell::new(0_usize));
    while let Ok(Some(frame)) = read_frame(&mut input).await {
        if frame.kind != FrameKind::Request {
            break;
        }
        if in_flight.get() >= CALLS_IN_FLIGHT_MAX {
            let error = Error::new(Code::ResourceExhausted, format!("{CALLS_IN_FLIGHT_MAX} calls are in flight"));
            if answers.send(respond(frame.stream_id, Err(error))).await.is_err() {
                break;
            }
            continue;
        }
        in_flight.set(in_flight.get() + 1);
        let (in_flight, service, answers) = (Rc::clone(&in_flight), Rc::clone(&service), answers.clone());
        tokio::task::spawn_local(async move {
            let result = tokio::select! {
                result = answer(service, frame.message) => result,
                () = answers.closed() => Err(Error::new(Code::Cancelled, "the caller is gone")),
            };
            let _ = answers.send(respond(frame.stream_id, result)).await;
            in_flight.set(in_flight.get() - 1);
        });
    }
    drop(answers);
    writer.abort();
}

async fn answer<D: Dispatch>(service: Rc<D>, message: Bytes) -> Result<Vec<u8>, Error> {
    let request: proto::ttrpc::Request = decode(message)?;
    let name = format!("{}/{}", request.service, request.method);
    let work = service.dispatch(request.service, request.method, request.payload);
    match u64::try_from(request.timeout_nano) {
        Err(_) | Ok(0) => work.await,
        Ok(ns) => tokio::time::timeout(Duration::from_nanos(ns), work)
            .await
            .unwrap_or_else(|_elapsed| Err(Error::new(Code::DeadlineExceeded, format!("{name}: deadline passed")))),
    }
}

fn respond(stream_id: u32, result: Result<Vec<u8>, Error>) -> Frame {
    let response = match result {
        Ok(payload) if payload.len() < super::MESSAGE_BYTES_MAX - 64 => {
            proto::ttrpc::Response { status: None, payload: payload.into() }
        }
        Ok(payload) => {
            let what = format!("answer of {} bytes is over the limit", payload.len());
            let status = Error::new(Code::ResourceExhausted, what).into_status();
            proto::ttrpc::Response { status: Some(status), payload: Bytes::new() }
        }
        Err(error) => proto::ttrpc::Response { status: Some(error.into_status()), payload: Bytes::new() },
    };
    Frame { stream_id, kind: FrameKind::Response, message: Bytes::from(response.encode_to_vec()) }
}
