//! A SPDY/3.1 connection: one task reads, one writes, and the streams that the client opened.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use super::Violation;
use super::frame::{self, Decoder, Frame, Reset};
use super::header_block::{Deflater, Headers, Inflater};
use crate::streaming::channel::{
    Activity, Feeder, Gone, Incoming, Inputs, Outbound, OutboundSender, Outgoing, outbound,
};
use crate::streaming::limits::{CLOSE_MAX, LINGER_MAX, PING_AFTER};

/// Streams of one connection at once; a forwarded connection takes two.
const STREAMS_MAX: usize = 1024;
/// Streams that wait to be accepted.
const NEW_STREAMS_MAX: usize = 32;
/// Bytes read from the socket at once.
const READ_BYTES: usize = 16 << 10;

/// The pings of a server are even, those of a client odd.
const OUR_PING: u32 = 2;

fn is_ours(ping: u32) -> bool {
    ping.is_multiple_of(2)
}

/// What reader and writer know of a stream.
#[derive(Debug)]
struct Open {
    /// Until the client has finished its side.
    feeder: Option<Feeder>,
    /// Whether we have finished ours.
    finished: bool,
    /// Tells who carries it when it is over, however that came.
    _over: DropGuard,
}

type Streams = Arc<Mutex<HashMap<u32, Open>>>;

/// A stream that the client wants to open.
#[derive(Debug)]
pub(in crate::streaming) struct NewStream {
    pub(in crate::streaming) id: u32,
    pub(in crate::streaming) headers: Headers,
    incoming: Incoming,
    replies: Replies,
}

impl NewStream {
    /// Lets it begin.
    pub(in crate::streaming) async fn accept(self) -> Result<(Incoming, Outgoing), Gone> {
        let block = self.replies.deflater.lock().unwrap_or_else(PoisonError::into_inner).empty_block();
        let reply = Outbound::Frames(frame::syn_reply(self.id, &block));
        self.replies.queue.send(reply).await.map_err(|_| Gone)?;
        Ok((self.incoming, Outgoing::new(self.id, self.replies.queue)))
    }
    /// Resets it.
    pub(in crate::streaming) async fn refuse(self) {
        self.replies.streams.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        // An error means that the connection is gone.
        let _ = self.replies.queue.send(Outbound::Frames(frame::rst_stream(self.id, Reset::Refused))).await;
    }
}

/// What it takes to answer a new stream. Replies are made one after another by whoever accepts streams, so that their
/// deflated blocks are sent in the order they were made in.
#[derive(Debug, Clone)]
struct Replies {
    queue: OutboundSender,
    deflater: Arc<Mutex<Deflater>>,
    streams: Streams,
}

/// A connection. Dropped, it is cut.
#[derive(Debug)]
pub(in crate::streaming) struct Session {
    new_streams: mpsc::Receiver<NewStream>,
    queue: OutboundSender,
    gone: CancellationToken,
    reader: AbortOnDropHandle<()>,
    writer: AbortOnDropHandle<()>,
}

impl Session {
    /// Begins to serve a connection that has been upgraded.
    pub(in crate::streaming) fn start(
        connection: impl AsyncRead + AsyncWrite + Send + 'static,
        idle_max: Duration,
    ) -> Self {
        let (input, output) = tokio::io::split(connection);
        let (queue, writes) = outbound();
        let (announce, new_streams) = mpsc::channel(NEW_STREAMS_MAX);
        let (streams, activity, gone) = (Streams::default(), Activity::new(), CancellationToken::new());
        let replies = Replies { queue: queue.clone(), deflater: Arc::default(), streams: streams.clone() };
        let reader = Reader {
            activity: activity.clone(),
            inflater: Inflater::new(),
            inputs: Inputs::new(),
            last: 0,
            going_away: false,
            announce,
            replies,
        };
        let writer = tokio::spawn(write(output, writes, streams, activity.clone(), gone.clone()));
        let over = gone.clone();
        let reader = tokio::spawn(async move {
            tokio::select! {
                () = reader.read(input) => {}
                () = activity.idle_for(idle_max) => tracing::debug!("streaming: a SPDY connection was idle for too long"),
            }
            over.cancel();
        });
        Self {
            new_streams,
            queue,
            gone,
            reader: AbortOnDropHandle::new(reader),
            writer: AbortOnDropHandle::new(writer),
        }
    }

    /// The next stream that the client opens; `None` when the connection is gone.
    pub(in crate::streaming) async fn next_stream(&mut self) -> Option<NewStream> {
        self.new_streams.recv().await
    }

    /// Cancelled when the connection is gone.
    pub(in crate::streaming) fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }

    /// Sends what is left and closes. The client gets some time to read all of it: a socket that is closed with input
    /// unread would be reset.
    pub(in crate::streaming) async fn close(self) {
        drop(self.new_streams);
        let written = async {
            if self.queue.send(Outbound::Close).await.is_ok() {
                // A writer that panicked has written all it could.
                let _ = self.writer.await;
            }
        };
        if tokio::time::timeout(CLOSE_MAX, written).await.is_ok() {
            let _ = tokio::time::timeout(LINGER_MAX, self.reader).await;
        }
    }
}

struct Reader {
    activity: Activity,
    inflater: Inflater,
    inputs: Inputs,
    /// The highest stream so far.
    last: u32,
    going_away: bool,
    announce: mpsc::Sender<NewStream>,
    replies: Replies,
}

impl Reader {
    /// Reads until the connection ends or the protocol is broken.
    async fn read(mut self, mut input: impl AsyncRead + Unpin) {
        let (mut decoder, mut bytes) = (Decoder::new(), BytesMut::with_capacity(READ_BYTES));
        let violation = 'reading: loop {
            bytes.reserve(READ_BYTES);
            match input.read_buf(&mut bytes).await {
                Ok(count) if count > 0 => {}
                _ => break None,
            }
            loop {
                let frame = match decoder.decode(&mut bytes) {
                    Ok(Some(frame)) => frame,
                    Ok(None) => break,
                    Err(violation) => break 'reading Some(violation),
                };
                match self.take(frame).await {
                    Ok(Ok(())) => {}
                    Ok(Err(violation)) => break 'reading Some(violation),
                    Err(Gone) => break 'reading None,
                }
            }
        };
        // Who waits for input learns from the closed queues.
        self.replies.streams.lock().unwrap_or_else(PoisonError::into_inner).clear();
        if let Some(Violation(what)) = violation {
            tracing::debug!(what, "streaming: a SPDY client broke the protocol");
            let _ = self.replies.queue.try_send(Outbound::Frames(frame::go_away(self.last)));
            let _ = self.replies.queue.try_send(Outbound::Close);
        }
    }

    async fn take(&mut self, frame: Frame) -> Result<Result<(), Violation>, Gone> {
        if !matches!(frame, Frame::Ping { id } if is_ours(id)) {
            self.activity.seen();
        }
        match frame {
            Frame::SynStream { stream, fin, unidirectional, block } => {
                let headers = match self.inflater.headers(&block) {
                    Ok(headers) => headers,
                    Err(violation) => return Ok(Err(violation)),
                };
                if stream.is_multiple_of(2) || stream <= self.last {
                    return Ok(Err(Violation("a stream's number is even or was used before")));
                }
                self.last = stream;
                self.open(stream, fin || unidirectional, headers).await?;
            }
            Frame::Headers { stream, fin, block } => {
                if let Err(violation) = self.inflater.headers(&block) {
                    return Ok(Err(violation));
                }
                if fin {
                    self.data(stream, true, &Bytes::new()).await?;
                }
            }
            Frame::Data { stream, fin, data } => self.data(stream, fin, &data).await?,
            Frame::RstStream { stream } => {
                self.replies.streams.lock().unwrap_or_else(PoisonError::into_inner).remove(&stream);
            }
            Frame::Ping { id } if !is_ours(id) => self.reply(frame::ping(id)).await?,
            Frame::GoAway => self.going_away = true,
            Frame::Ping { .. } | Frame::Other => {}
        }
        Ok(Ok(()))
    }

    async fn reply(&self, frames: Bytes) -> Result<(), Gone> {
        self.replies.queue.send(Outbound::Frames(frames)).await.map_err(|_| Gone)
    }

    async fn open(&mut self, stream: u32, ended: bool, headers: Headers) -> Result<(), Gone> {
        let (feeder, incoming) = self.inputs.channel();
        if ended {
            feeder.end().await;
        }
        let admitted = {
            let mut streams = self.replies.streams.lock().unwrap_or_else(PoisonError::into_inner);
            let room = streams.len() < STREAMS_MAX && !self.going_away;
            if room {
                let over = incoming.over().drop_guard();
                streams.insert(stream, Open { feeder: (!ended).then_some(feeder), finished: false, _over: over });
            }
            room
        };
        let new = NewStream { id: stream, headers, incoming, replies: self.replies.clone() };
        if admitted && self.announce.try_send(new).is_ok() {
            return Ok(());
        }
        self.replies.streams.lock().unwrap_or_else(PoisonError::into_inner).remove(&stream);
        self.reply(frame::rst_stream(stream, Reset::Refused)).await
    }

    async fn data(&mut self, stream: u32, fin: bool, data: &[u8]) -> Result<(), Gone> {
        let feeder = {
            let mut streams = self.replies.streams.lock().unwrap_or_else(PoisonError::into_inner);
            let feeder = match streams.get_mut(&stream) {
                // On its way before the client knew of the stream's end.
                None if stream <= self.last && !stream.is_multiple_of(2) => return Ok(()),
                None => Err(Reset::InvalidStream),
                Some(open) => {
                    let feeder = if fin { open.feeder.take() } else { open.feeder.clone() };
                    feeder.ok_or(Reset::AlreadyClosed)
                }
            };
            if matches!(streams.get(&stream), Some(Open { feeder: None, finished: true, .. })) || feeder.is_err() {
                streams.remove(&stream);
            }
            feeder
        };
        let feeder = match feeder {
            Ok(feeder) => feeder,
            Err(why) => return self.reply(frame::rst_stream(stream, why)).await,
        };
        feeder.data(data).await;
        if fin {
            feeder.end().await;
        }
        Ok(())
    }
}

/// Writes what is queued until it is told to close or nobody can read it any more.
async fn write(
    mut output: impl AsyncWrite + Unpin,
    mut writes: mpsc::Receiver<Outbound>,
    streams: Streams,
    activity: Activity,
    gone: CancellationToken,
) {
    let mut bytes = BytesMut::new();
    loop {
        let next = match tokio::time::timeout(PING_AFTER, writes.recv()).await {
            Ok(Some(next)) => next,
            Ok(None) => break,
            Err(_elapsed) => Outbound::Frames(frame::ping(OUR_PING)),
        };
        match next {
            Outbound::Data(stream, data) => {
                activity.seen();
                // What comes for a stream that was reset is dropped.
                if streams.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&stream) {
                    frame::put_data(&mut bytes, stream, false, &data);
                }
            }
            Outbound::Finish(stream) => {
                if finish(&streams, stream) {
                    frame::put_data(&mut bytes, stream, true, &[]);
                }
            }
            Outbound::Frames(frames) => bytes.extend_from_slice(&frames),
            Outbound::Close => break,
        }
        if output.write_all(&bytes).await.is_err() || output.flush().await.is_err() {
            gone.cancel();
            return;
        }
        bytes.clear();
    }
    // An error means that the client has closed before us.
    let _ = output.shutdown().await;
}

/// Notes that our side of a stream is finished; `false` when the stream is over already.
fn finish(streams: &Streams, stream: u32) -> bool {
    let mut streams = streams.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(open) = streams.get_mut(&stream) else { return false };
    let first = !std::mem::replace(&mut open.finished, true);
    if open.feeder.is_none() {
        streams.remove(&stream);
    }
    first
}
