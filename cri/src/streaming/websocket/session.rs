//! A WebSocket connection that carries channels: one task reads, one writes.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::message::{self, Framing, Malformed, Said};
use crate::streaming::channel::{Activity, Feeder, Incoming, Inputs, Outbound, OutboundSender, Outgoing, outbound};
use crate::streaming::limits::{CLOSE_MAX, LINGER_MAX, PING_AFTER};

/// A connection. Dropped, it is cut.
#[derive(Debug)]
pub(in crate::streaming) struct Session {
    queue: OutboundSender,
    gone: CancellationToken,
    reader: AbortOnDropHandle<()>,
    writer: AbortOnDropHandle<()>,
}

impl Session {
    /// Begins to serve a connection that has been upgraded. It has channels from 0 on; input is taken on those of
    /// `inputs`, on others it is discarded.
    pub(in crate::streaming) async fn start(
        connection: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        framing: Framing,
        inputs: &[u8],
        idle_max: Duration,
    ) -> (Self, Vec<Incoming>) {
        let (sink, stream) = super::serve(connection).await.split();
        let (queue, writes) = outbound();
        let (activity, gone) = (Activity::new(), CancellationToken::new());
        let budget = Inputs::new();
        let mut feeders = Vec::new();
        let incoming = inputs.iter().map(|channel| {
            let (feeder, incoming) = budget.channel();
            feeders.push((*channel, Some(feeder)));
            incoming
        });
        let incoming = incoming.collect();
        let writer = tokio::spawn(write(sink, framing, writes, activity.clone(), gone.clone()));
        let (over, to_writer) = (gone.clone(), queue.clone());
        let reader = tokio::spawn(async move {
            tokio::select! {
                ended = read(stream, framing, feeders, activity.clone()) => if let Err(Malformed(what)) = ended {
                    tracing::debug!(what, "streaming: a WebSocket client broke the protocol");
                    let _ = to_writer.try_send(Outbound::Close);
                },
                () = activity.idle_for(idle_max) => tracing::debug!("streaming: a WebSocket was idle for too long"),
            }
            over.cancel();
        });
        let (reader, writer) = (AbortOnDropHandle::new(reader), AbortOnDropHandle::new(writer));
        (Self { queue, gone, reader, writer }, incoming)
    }

    /// The writing end of a channel.
    pub(in crate::streaming) fn outgoing(&self, channel: u8) -> Outgoing {
        Outgoing::new(u32::from(channel), self.queue.clone())
    }

    /// Cancelled when the connection is gone.
    pub(in crate::streaming) fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }

    /// Sends what is left and closes; the client gets some time to close, too.
    pub(in crate::streaming) async fn close(self) {
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

async fn read<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: SplitStream<WebSocketStream<S>>,
    framing: Framing,
    mut feeders: Vec<(u8, Option<Feeder>)>,
    activity: Activity,
) -> Result<(), Malformed> {
    while let Some(Ok(message)) = stream.next().await {
        if !matches!(message, Message::Pong(_)) {
            activity.seen();
        }
        let (channel, data) = match message::read(framing, message)? {
            Said::Data(channel, data) => (channel, Some(data)),
            Said::End(channel) => (channel, None),
            Said::Nothing => continue,
        };
        let Some((_, feeder)) = feeders.iter_mut().find(|(known, _)| *known == channel) else { continue };
        match (data, &feeder) {
            (Some(data), Some(open)) => open.data(&data).await,
            (None, Some(open)) => {
                open.end().await;
                *feeder = None;
            }
            (_, None) => {}
        }
    }
    Ok(())
}

async fn write<S: AsyncRead + AsyncWrite + Unpin>(
    mut sink: SplitSink<WebSocketStream<S>, Message>,
    framing: Framing,
    mut writes: mpsc::Receiver<Outbound>,
    activity: Activity,
    gone: CancellationToken,
) {
    loop {
        let next = match tokio::time::timeout(PING_AFTER, writes.recv()).await {
            Ok(Some(next)) => next,
            Ok(None) => break,
            Err(_elapsed) => {
                if sink.send(Message::Ping(Bytes::new())).await.is_err() {
                    gone.cancel();
                    return;
                }
                continue;
            }
        };
        match next {
            Outbound::Data(channel, data) => {
                let channel = u8::try_from(channel).unwrap_or(u8::MAX);
                if sink.send(message::write(framing, channel, &data)).await.is_err() {
                    gone.cancel();
                    return;
                }
                activity.seen();
            }
            // Clients take the end of a channel from the end of the connection.
            Outbound::Finish(_) | Outbound::Frames(_) => {}
            Outbound::Close => break,
        }
    }
    let farewell = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    // An error means that the client has closed before us.
    let _ = sink.send(Message::Close(Some(farewell))).await;
}
