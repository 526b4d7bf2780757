//! From a blocking writer to an asynchronous reader, through a short queue.

use std::io::{self, Write};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::StreamReader;

use super::ArchiveStream;
use crate::error::{Error, Result};

const PIECE_BYTES: usize = 128 << 10;
const PIECES_QUEUED_MAX: usize = 8;

/// Runs `work` on a thread of its own; what it writes is read from the stream, and its failure ends the stream.
pub(crate) fn stream(work: impl FnOnce(PieceWriter) -> Result<()> + Send + 'static) -> ArchiveStream {
    let (pieces, queue) = mpsc::channel(PIECES_QUEUED_MAX);
    tokio::spawn(async move {
        let failed = pieces.clone();
        let writer = PieceWriter { pieces, piece: Vec::with_capacity(PIECE_BYTES) };
        let result = tokio::task::spawn_blocking(move || work(writer)).await;
        let result = result.unwrap_or_else(|e| Err(Error::internal("write an archive").with_source(e)));
        if let Err(error) = result {
            drop(failed.send(Err(io::Error::other(error))).await);
        }
    });
    Box::pin(StreamReader::new(ReceiverStream::new(queue)))
}

/// Hands what is written to the stream, in larger pieces. A reader that is gone is an error, so that the work stops.
#[derive(Debug)]
pub(crate) struct PieceWriter {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let take = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..take]);
        if self.piece.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(take)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        self.pieces.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
