//! The calling side: many calls at once over one connection.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::frame::{Frame, FrameKind, read_frame, write_frame};
use super::status::{Code, Error};
use crate::{proto, unix_path};

/// Frames that may wait for the socket; further callers wait.
const QUEUED_FRAMES_MAX: usize = 64;
/// Calls without an answer yet, per connection.
const PENDING_CALLS_MAX: usize = 4096;

type Answer = Result<Bytes, Error>;

#[derive(Debug, Default)]
struct Pending {
    waiting: HashMap<u32, oneshot::Sender<Answer>>,
    next_stream_id: u32,
    /// Set once, when the connection is gone.
    closed: Option<String>,
}

#[derive(Debug)]
struct Connection {
    pending: Arc<Mutex<Pending>>,
    frames: mpsc::Sender<Frame>,
    tasks: [AbortHandle; 2],
}

impl Drop for Connection {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// A connection to a ttrpc server. Cheap to clone; the connection closes with the last clone.
///
/// After [`Client::is_closed`] a new one has to be made: a call may or may not have taken effect, which only the
/// caller can find out.
#[derive(Debug, Clone)]
pub struct Client {
    connection: Arc<Connection>,
}

fn lock(pending: &Mutex<Pending>) -> MutexGuard<'_, Pending> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Client {
    /// Connects to the unix socket at `path` (of any length).
    ///
    /// # Errors
    /// `Unavailable` when nobody listens.
    pub async fn connect(path: &Path) -> Result<Self, Error> {
        Ok(Self::new(unix_path::connect(path).await?))
    }

    /// Takes over a connected socket. Must be called in a tokio runtime.
    #[must_use]
    pub fn new(stream: UnixStream) -> Self {
        let (read_half, write_half) = stream.into_split();
        let pending = Arc::new(Mutex::new(Pending { next_stream_id: 1, ..Pending::default() }));
        let (frames, queue) = mpsc::channel(QUEUED_FRAMES_MAX);
        let reader = tokio::spawn(read_answers(read_half, Arc::clone(&pending))).abort_handle();
        let writer = tokio::spawn(write_requests(write_half, queue, Arc::clone(&pending))).abort_handle();
        Self { connection: Arc::new(Connection { pending, frames, tasks: [reader, writer] }) }
    }

    /// Whether the peer is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        lock(&self.connection.pending).closed.is_some()
    }

    /// Calls `service`/`method`. Without `timeout` it waits until the answer or the end of the connection.
    ///
    /// # Errors
    /// What the server answered; `DeadlineExceeded` after `timeout`; `Unavailable` when the connection is lost.
    pub async fn call<Q: Message, A: Message + Default>(
        &self,
        service: &str,
        method: &str,
        request: &Q,
        timeout: Option<Duration>,
    ) -> Result<A, Error> {
        let request = proto::ttrpc::Request {
            service: service.to_owned(),
            method: method.to_owned(),
            payload: Bytes::from(request.encode_to_vec()),
            timeout_nano: timeout.map_or(0, |t| i64::try_from(t.as_nanos()).unwrap_or(i64::MAX)),
            metadata: Vec::new(),
        };
        let answer = self.exchange(Bytes::from(request.encode_to_vec()));
        let answer = match timeout {
            None => answer.await?,
            Some(limit) => tokio::time::timeout(limit, answer).await.map_err(|_elapsed| {
                Error::new(Code::DeadlineExceeded, format!("{service}/{method}: no answer within {limit:?}"))
            })??,
        };
        A::decode(answer).map_err(|e| Error::new(Code::Internal, format!("{service}/{method}: bad answer: {e}")))
    }

    async fn exchange(&self, message: Bytes) -> Answer {
        if message.len() > super::MESSAGE_BYTES_MAX {
            let what = format!("request of {} bytes, the limit is {}", message.len(), super::MESSAGE_BYTES_MAX);
            return Err(Error::new(Code::ResourceExhausted, what));
        }
        let (sender, answer) = oneshot::channel();
        let stream_id = self.register(sender)?;
        let _forget = Forget { pending: &self.connection.pending, stream_id };
        let frame = Frame { stream_id, kind: FrameKind::Request, message };
        let gone = || Error::new(Code::Unavailable, "the connection to the shim is closed");
        self.connection.frames.send(frame).await.map_err(|_closed| gone())?;
        answer.await.unwrap_or_else(|_dropped| Err(gone()))
    }

    fn register(&self, sender: oneshot::Sender<Answer>) -> Result<u32, Error> {
        let mut pending = lock(&self.connection.pending);
        if let Some(reason) = &pending.closed {
            return Err(Error::new(Code::Unavailable, reason.clone()));
        }
        if pending.waiting.len() >= PENDING_CALLS_MAX {
            return Err(Error::new(Code::ResourceExhausted, format!("{PENDING_CALLS_MAX} calls are waiting")));
        }
        let stream_id = pending.next_stream_id;
        pending.next_stream_id = stream_id.wrapping_add(2) | 1;
        pending.waiting.insert(stream_id, sender);
        Ok(stream_id)
    }
}

/// A caller that stops waiting takes its entry along.
struct Forget<'a> {
    pending: &'a Mutex<Pending>,
    stream_id: u32,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        lock(self.pending).waiting.remove(&self.stream_id);
    }
}

fn close(pending: &Mutex<Pending>, reason: &str) {
    let mut pending = lock(pending);
    if pending.closed.is_none() {
        pending.closed = Some(reason.to_owned());
    }
    for (_, waiter) in pending.waiting.drain() {
        let _ = waiter.send(Err(Error::new(Code::Unavailable, reason)));
    }
}

async fn read_answers(mut input: OwnedReadHalf, pending: Arc<Mutex<Pending>>) {
    let reason = loop {
        let frame = match read_frame(&mut input).await {
            Ok(Some(frame)) => frame,
            Ok(None) => break "the shim closed the connection".to_owned(),
            Err(e) => break format!("read from the shim: {e}"),
        };
        if frame.kind != FrameKind::Response {
            break "the shim sent a frame that is no response".to_owned();
        }
        let waiter = lock(&pending).waiting.remove(&frame.stream_id);
        if let Some(waiter) = waiter {
            let _ = waiter.send(open_response(frame.message));
        }
    };
    close(&pending, &reason);
}

fn open_response(message: Bytes) -> Answer {
    let response = proto::ttrpc::Response::decode(message)
        .map_err(|e| Error::new(Code::Internal, format!("bad ttrpc response: {e}")))?;
    match response.status {
        Some(status) if status.code != 0 => Err(Error::from_status(status)),
        _ => Ok(response.payload),
    }
}

async fn write_requests(mut output: OwnedWriteHalf, mut queue: mpsc::Receiver<Frame>, pending: Arc<Mutex<Pending>>) {
    while let Some(frame) = queue.recv().await {
        if let Err(e) = write_frame(&mut output, &frame).await {
            close(&pending, &format!("write to the shim: {e}"));
            return;
        }
    }
}
