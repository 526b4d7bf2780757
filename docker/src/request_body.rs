//! Request bodies that are longer than what is wanted of them.
//!
//! A client that is still sending when it is refused must be able to read why. A connection that is closed with unread
//! data is reset, and the client sees a broken pipe instead of the answer. So the rest of a body is read and dropped
//! beside the answer, within limits.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::StreamReader;

/// Pieces read ahead of who takes the body.
const PIECES_WAITING_MAX: usize = 8;
/// How long the rest of a body is read and dropped.
const REST_MAX: Duration = Duration::from_secs(30);
/// How much of it.
const REST_BYTES_MAX: usize = 1 << 30;

/// Reads and drops what is left of a body, beside the answer.
pub(crate) fn drop_rest(mut body: Incoming) {
    tokio::spawn(async move { drop(tokio::time::timeout(REST_MAX, read_rest(&mut body)).await) });
}

async fn read_rest(body: &mut Incoming) {
    let mut left = REST_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        if left == 0 {
            return;
        }
    }
}

/// The body as bytes to read. When the reader is dropped before its end, the rest is dropped too.
pub(crate) fn reader(mut body: Incoming) -> impl AsyncRead + Send + Unpin + 'static {
    let (sender, receiver) = mpsc::channel::<std::io::Result<Bytes>>(PIECES_WAITING_MAX);
    tokio::spawn(async move {
        while let Some(frame) = body.frame().await {
            let piece = match frame.map(|frame| frame.into_data()) {
                Ok(Ok(data)) => Ok(data),
                // Trailers are nobody's.
                Ok(Err(_)) => continue,
                Err(error) => Err(std::io::Error::other(error)),
            };
            if sender.send(piece).await.is_err() {
                drop(tokio::time::timeout(REST_MAX, read_rest(&mut body)).await);
                return;
            }
        }
    });
    StreamReader::new(ReceiverStream::new(receiver).boxed())
}
