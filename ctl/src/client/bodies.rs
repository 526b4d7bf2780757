//! Bodies of any length between blocking readers and writers and a connection: archives.

use std::io::{self, Read, Write};

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::sync::mpsc;

use super::Body;

/// Bytes of an archive read at once, and how many such pieces may wait.
const CHUNK_BYTES: usize = 256 * 1024;
const CHUNKS_MAX: usize = 8;

type Chunks = mpsc::Sender<io::Result<Frame<Bytes>>>;

/// What `source` holds. It is read on a thread of its own: files and pipes block.
pub(crate) fn body_of(mut source: impl Read + Send + 'static) -> Body {
    let (queue, chunks) = mpsc::channel(CHUNKS_MAX);
    std::thread::spawn(move || {
        loop {
            let mut chunk = vec![0; CHUNK_BYTES];
            let piece = match source.read(&mut chunk) {
                Ok(0) => return,
                Ok(read) => {
                    chunk.truncate(read);
                    Ok(Frame::data(Bytes::from(chunk)))
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let failed = piece.is_err();
            if queue.blocking_send(piece).is_err() || failed {
                return;
            }
        }
    });
    streamed(chunks)
}

/// What `work` writes, on a thread of its own. Its failure breaks the request off.
pub(crate) fn written_body(work: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static) -> Body {
    let (queue, chunks) = mpsc::channel(CHUNKS_MAX);
    std::thread::spawn(move || {
        let mut writer = io::BufWriter::with_capacity(CHUNK_BYTES, Queue(queue.clone()));
        if let Err(error) = work(&mut writer).and_then(|()| writer.flush()) {
            drop(queue.blocking_send(Err(error)));
        }
    });
    streamed(chunks)
}

fn streamed(chunks: mpsc::Receiver<io::Result<Frame<Bytes>>>) -> Body {
    let stream =
        futures_util::stream::unfold(chunks, |mut chunks| async { chunks.recv().await.map(|chunk| (chunk, chunks)) });
    BodyExt::boxed_unsync(StreamBody::new(stream))
}

struct Queue(Chunks);

impl Write for Queue {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Frame::data(Bytes::copy_from_slice(bytes));
        self.0.blocking_send(Ok(piece)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An answer to be read by a thread that may block.
pub(crate) fn reader_of(mut body: Incoming) -> impl Read + Send + 'static {
    let (queue, chunks) = mpsc::channel(CHUNKS_MAX);
    tokio::spawn(async move {
        while let Some(frame) = body.frame().await {
            let piece = match frame.map(Frame::into_data) {
                Ok(Ok(data)) => Ok(data),
                Ok(Err(_)) => continue,
                Err(error) => Err(io::Error::other(error)),
            };
            if queue.send(piece).await.is_err() {
                return;
            }
        }
    });
    Chunked { chunks, at: Bytes::new() }
}

struct Chunked {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    at: Bytes,
}

impl Read for Chunked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at.is_empty() {
            match self.chunks.blocking_recv() {
                Some(piece) => self.at = piece?,
                None => return Ok(0),
            }
        }
        let count = self.at.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.at.split_to(count));
        Ok(count)
    }
}
