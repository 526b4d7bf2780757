//! What every session is made of, whichever protocol carries it: numbered channels, each with bytes in and bytes out.
//!
//! All queues are bounded. A channel whose reader is slow fills its own queue; then the session reads nothing more from
//! its socket, so that TCP holds the client up. (The windows of SPDY/3.1 cannot do it: the field's clients neither
//! honour nor send them.)

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Longest piece of input or output.
pub(super) const PIECE_BYTES_MAX: usize = 16 << 10;
/// Pieces of input that wait in one channel.
const INPUT_PIECES_MAX: usize = 16;
/// Bytes of input that wait in all channels of one session.
const INPUT_BYTES_MAX: usize = 512 << 10;
/// Pieces of output that wait for the socket, over all channels of one session.
const OUTPUT_PIECES_MAX: usize = 16;

/// What came in on a channel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// Bytes.
    Data(Bytes),
    /// The client has no more to send; it still reads.
    End,
    /// The channel was reset, or the connection is gone.
    Gone,
}

#[derive(Debug)]
enum Arrived {
    Data(Bytes, OwnedSemaphorePermit),
    End,
}

/// The reading end of a channel. Dropped, it discards what comes.
#[derive(Debug)]
pub(super) struct Incoming {
    queue: mpsc::Receiver<Arrived>,
    ended: bool,
    over: CancellationToken,
}

impl Incoming {
    /// Cancelled when the channel is over in both directions: reset, or its connection gone. That may come after
    /// [`Received::End`].
    pub(super) fn over(&self) -> CancellationToken {
        self.over.clone()
    }
    /// The next piece. Cancel safe.
    pub(super) async fn receive(&mut self) -> Received {
        if self.ended {
            return Received::End;
        }
        match self.queue.recv().await {
            Some(Arrived::Data(data, _room)) => Received::Data(data),
            Some(Arrived::End) => {
                self.ended = true;
                Received::End
            }
            None => Received::Gone,
        }
    }
}

/// The session's end of [`Incoming`].
#[derive(Debug, Clone)]
pub(super) struct Feeder {
    queue: mpsc::Sender<Arrived>,
    budget: Arc<Semaphore>,
}

impl Feeder {
    /// Hands bytes over, and waits while there is no room for them. With nobody to read them they are discarded.
    pub(super) async fn data(&self, data: &[u8]) {
        for piece in data.chunks(PIECE_BYTES_MAX) {
            let bytes = u32::try_from(piece.len()).unwrap_or(u32::MAX);
            let room = tokio::select! {
                room = Arc::clone(&self.budget).acquire_many_owned(bytes) => room,
                () = self.queue.closed() => return,
            };
            let Ok(room) = room else { return };
            // A copy, so that a small piece does not keep the whole buffer that it was read into.
            if self.queue.send(Arrived::Data(Bytes::copy_from_slice(piece), room)).await.is_err() {
                return;
            }
        }
    }

    /// Says that no more comes.
    pub(super) async fn end(&self) {
        // An error means that nobody listens any more.
        let _ = self.queue.send(Arrived::End).await;
    }
}

/// Makes the reading ends of one session's channels.
#[derive(Debug, Clone)]
pub(super) struct Inputs(Arc<Semaphore>);

impl Inputs {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(INPUT_BYTES_MAX)))
    }
    pub(super) fn channel(&self) -> (Feeder, Incoming) {
        let (sender, queue) = mpsc::channel(INPUT_PIECES_MAX);
        let incoming = Incoming { queue, ended: false, over: CancellationToken::new() };
        (Feeder { queue: sender, budget: Arc::clone(&self.0) }, incoming)
    }
}

/// What the session's writer is to send, in order.
#[derive(Debug)]
pub(super) enum Outbound {
    /// Bytes on a channel.
    Data(u32, Bytes),
    /// No more comes on this channel.
    Finish(u32),
    /// Frames that are encoded already.
    Frames(Bytes),
    /// Write what is left and close.
    Close,
}

/// Where a session's output goes.
pub(super) type OutboundSender = mpsc::Sender<Outbound>;

/// The queue before a session's writer.
pub(super) fn outbound() -> (OutboundSender, mpsc::Receiver<Outbound>) {
    mpsc::channel(OUTPUT_PIECES_MAX)
}

/// The connection is gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// The writing end of a channel.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    channel: u32,
    queue: OutboundSender,
}

impl Outgoing {
    pub(super) fn new(channel: u32, queue: OutboundSender) -> Self {
        Self { channel, queue }
    }
    /// Sends bytes, and waits while the client does not read.
    pub(super) async fn send(&self, mut data: Bytes) -> Result<(), Gone> {
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(PIECE_BYTES_MAX));
            self.queue.send(Outbound::Data(self.channel, piece)).await.map_err(|_| Gone)?;
        }
        Ok(())
    }
    /// Sends a message without content, by which a WebSocket client sees that the session stands.
    pub(super) async fn greet(&self) -> Result<(), Gone> {
        self.queue.send(Outbound::Data(self.channel, Bytes::new())).await.map_err(|_| Gone)
    }
    /// Says that no more comes.
    pub(super) async fn finish(self) -> Result<(), Gone> {
        self.queue.send(Outbound::Finish(self.channel)).await.map_err(|_| Gone)
    }
}

/// When something was last read or written, for the idle timeout.
#[derive(Debug, Clone)]
pub(super) struct Activity {
    start: Instant,
    last_ms: Arc<AtomicU64>,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), last_ms: Arc::new(AtomicU64::new(0)) }
    }
    pub(super) fn seen(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now, Ordering::Relaxed);
    }
    /// Ends when nothing was read or written for `limit`.
    pub(super) async fn idle_for(&self, limit: Duration) {
        loop {
            let until = self.start + Duration::from_millis(self.last_ms.load(Ordering::Relaxed)) + limit;
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_reader_holds_its_session_up_and_nothing_grows() {
        let inputs = Inputs::new();
        let (feeder, mut incoming) = inputs.channel();
        let big = vec![7; 4 * INPUT_BYTES_MAX];
        let feeding = tokio::spawn(async move {
            feeder.data(&big).await;
            feeder.end().await;
        });
        tokio::task::yield_now().await;
        assert!(!feeding.is_finished());
        let mut total = 0;
        loop {
            match incoming.receive().await {
                Received::Data(data) => {
                    assert!(data.len() <= PIECE_BYTES_MAX);
                    total += data.len();
                }
                other => {
                    assert_eq!(other, Received::End);
                    break;
                }
            }
        }
        assert_eq!(total, 4 * INPUT_BYTES_MAX);
        assert_eq!(incoming.receive().await, Received::End);
    }

    #[tokio::test]
    async fn what_nobody_reads_is_discarded() {
        let inputs = Inputs::new();
        let (feeder, incoming) = inputs.channel();
        drop(incoming);
        feeder.data(&vec![0; 4 * INPUT_BYTES_MAX]).await;
        let (feeder, mut incoming) = inputs.channel();
        feeder.data(b"x").await;
        drop(feeder);
        assert_eq!(incoming.receive().await, Received::Data(Bytes::from_static(b"x")));
        assert_eq!(incoming.receive().await, Received::Gone);
    }

    #[tokio::test(start_paused = true)]
    async fn idleness_is_counted_from_the_last_activity() {
        let activity = Activity::new();
        let limit = Duration::from_secs(10);
        let start = Instant::now();
        let other = activity.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(6)).await;
            other.seen();
        });
        activity.idle_for(limit).await;
        assert_eq!(start.elapsed().as_secs(), 16);
    }
}
