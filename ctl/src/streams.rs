//! Copies between a hijacked connection and the user's standard streams.

use std::io::{self, Read, Write};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::client::Hijacked;
use crate::detach::Watcher;
use crate::error::{Error, Result};

/// Bytes read at once, in each direction.
const CHUNK_BYTES: usize = 32 * 1024;
/// Chunks that may wait in each direction before the other side is slowed down.
const CHUNKS_MAX: usize = 16;
/// A frame longer than this is not one of the daemon's.
const FRAME_BYTES_MAX: usize = 256 << 20;

/// Which of our streams a piece of output goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    Stdout,
    Stderr,
}

/// Writes output on a thread of its own, so that a slow reader of ours never holds up signals or input.
#[derive(Debug)]
pub(crate) struct Output {
    queue: Option<mpsc::Sender<(Channel, Bytes)>>,
    result: Option<oneshot::Receiver<io::Result<()>>>,
    keep_stdout: bool,
    keep_stderr: bool,
}

impl Output {
    /// Streams that are not wanted are dropped.
    pub(crate) fn new(keep_stdout: bool, keep_stderr: bool) -> Self {
        Output { queue: None, result: None, keep_stdout, keep_stderr }
    }

    pub(crate) async fn write(&mut self, channel: Channel, bytes: Bytes) -> Result<()> {
        let wanted = match channel {
            Channel::Stdout => self.keep_stdout,
            Channel::Stderr => self.keep_stderr,
        };
        if !wanted || bytes.is_empty() {
            return Ok(());
        }
        let queue = self.queue.get_or_insert_with(|| {
            let (queue, pieces) = mpsc::channel(CHUNKS_MAX);
            let (done, result) = oneshot::channel();
            std::thread::spawn(move || {
                let _ = done.send(write_pieces(pieces));
            });
            self.result = Some(result);
            queue
        });
        if queue.send((channel, bytes)).await.is_err() {
            return self.finish().await;
        }
        Ok(())
    }

    /// Waits until everything is written.
    pub(crate) async fn finish(&mut self) -> Result<()> {
        self.queue = None;
        match self.result.take() {
            Some(result) => result.await.unwrap_or(Ok(())).map_err(Error::from),
            None => Ok(()),
        }
    }
}

fn write_pieces(mut pieces: mpsc::Receiver<(Channel, Bytes)>) -> io::Result<()> {
    while let Some((channel, bytes)) = pieces.blocking_recv() {
        match channel {
            Channel::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(&bytes)?;
                stdout.flush()?;
            }
            Channel::Stderr => io::stderr().lock().write_all(&bytes)?,
        }
    }
    Ok(())
}

/// Takes the daemon's frames apart: a byte of stream, three of nothing, four of length, the bytes.
#[derive(Debug, Default)]
pub(crate) struct Demux {
    head: Vec<u8>,
    left: usize,
    channel: Option<Channel>,
    /// A message of the daemon itself (stream 3), while it is being read.
    message: Option<Vec<u8>>,
}

impl Demux {
    /// Feeds bytes as they come; gives the pieces of output in them.
    pub(crate) fn feed(&mut self, mut bytes: Bytes) -> Result<Vec<(Channel, Bytes)>> {
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            if self.left > 0 {
                let piece = bytes.split_to(self.left.min(bytes.len()));
                self.left -= piece.len();
                self.take(piece, &mut pieces)?;
                continue;
            }
            let wanted = (8 - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes.split_to(wanted));
            if self.head.len() == 8 {
                self.start_frame()?;
            }
        }
        Ok(pieces)
    }

    fn start_frame(&mut self) -> Result<()> {
        let length = u32::from_be_bytes([self.head[4], self.head[5], self.head[6], self.head[7]]);
        self.left = usize::try_from(length).unwrap_or(usize::MAX);
        let stream = self.head[0];
        self.head.clear();
        if self.left > FRAME_BYTES_MAX {
            return Err(Error::message(format!("the daemon sent a frame of {length} bytes")));
        }
        (self.channel, self.message) = match stream {
            0 | 1 => (Some(Channel::Stdout), None),
            2 => (Some(Channel::Stderr), None),
            3 => (None, Some(Vec::new())),
            other => return Err(Error::message(format!("Unrecognized input header: {other}"))),
        };
        Ok(())
    }

    fn take(&mut self, piece: Bytes, pieces: &mut Vec<(Channel, Bytes)>) -> Result<()> {
        if let Some(message) = &mut self.message {
            message.extend_from_slice(&piece);
            if self.left == 0 {
                let text = String::from_utf8_lossy(message);
                return Err(Error::message(format!("error from daemon in stream: {text}")));
            }
        } else if let Some(channel) = self.channel {
            pieces.push((channel, piece));
        }
        Ok(())
    }
}

/// What to do with a hijacked connection.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) tty: bool,
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    /// The keys that detach; looked for only in a terminal's input.
    pub(crate) detach_keys: Vec<u8>,
}

/// Why the copying ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The daemon has no more output.
    Output,
    /// The user typed the detach keys.
    Detached,
}

/// Copies until the output ends or the user detaches.
pub(crate) async fn copy(connection: Hijacked, plan: &Plan) -> Result<Ended> {
    let (reader, mut writer) = tokio::io::split(connection);
    let output = copy_output(reader, plan);
    tokio::pin!(output);
    if !plan.stdin {
        // A failed shutdown shows up as the end of the output.
        let _ = writer.shutdown().await;
        return output.await.map(|()| Ended::Output);
    }
    let watcher = plan.tty.then(|| Watcher::new(plan.detach_keys.clone()));
    let input = copy_input(writer, watcher);
    tokio::pin!(input);
    tokio::select! {
        result = &mut output => result.map(|()| Ended::Output),
        ended = &mut input => match ended {
            InputEnded::Detached => Ok(Ended::Detached),
            InputEnded::Closed(_writer) => output.await.map(|()| Ended::Output),
        },
    }
}

async fn copy_output(mut reader: ReadHalf<Hijacked>, plan: &Plan) -> Result<()> {
    let mut output = Output::new(plan.stdout, plan.stderr);
    let mut demux = Demux::default();
    let mut buffer = bytes::BytesMut::with_capacity(CHUNK_BYTES);
    loop {
        buffer.reserve(CHUNK_BYTES);
        let read = match reader.read_buf(&mut buffer).await {
            Ok(read) => read,
            // A reset is how a stream ends when the container is gone before all input was taken.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            Err(error) => return Err(Error::message(format!("reading the container's output: {error}"))),
        };
        if read == 0 {
            return output.finish().await;
        }
        let bytes = buffer.split().freeze();
        if plan.tty {
            output.write(Channel::Stdout, bytes).await?;
            continue;
        }
        for (channel, piece) in demux.feed(bytes)? {
            output.write(channel, piece).await?;
        }
    }
}

enum InputEnded {
    Detached,
    /// Kept open for reading: dropping the writer is not needed to half-close.
    Closed(WriteHalf<Hijacked>),
}

/// Sends what is typed; at its end the connection is closed for writing only.
async fn copy_input(mut writer: WriteHalf<Hijacked>, mut watcher: Option<Watcher>) -> InputEnded {
    let mut typed = read_stdin();
    while let Some(chunk) = typed.recv().await {
        let (chunk, detached) = match &mut watcher {
            Some(watcher) => watcher.pass(&chunk),
            None => (chunk, false),
        };
        if writer.write_all(&chunk).await.is_err() || writer.flush().await.is_err() {
            return InputEnded::Closed(writer);
        }
        if detached {
            return InputEnded::Detached;
        }
    }
    let _ = writer.shutdown().await;
    InputEnded::Closed(writer)
}

/// Standard input, read on a thread: it may block for ever and must not hold up the end of the program.
fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (queue, chunks) = mpsc::channel(CHUNKS_MAX);
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            match stdin.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => {
                    if queue.blocking_send(buffer[..read].to_vec()).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    chunks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(stream: u8, text: &[u8]) -> Vec<u8> {
        let mut frame = vec![stream, 0, 0, 0];
        frame.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(text);
        frame
    }

    #[test]
    fn the_daemons_own_messages_are_errors() {
        let mut demux = Demux::default();
        let message = demux.feed(Bytes::from(frame(3, b"gone"))).unwrap_err().to_string();
        assert_eq!(message, "error from daemon in stream: gone");
        let message = Demux::default().feed(Bytes::from(frame(9, b""))).unwrap_err().to_string();
        assert_eq!(message, "Unrecognized input header: 9");
        assert!(Demux::default().feed(Bytes::from_static(&[1, 0, 0, 0, 255, 0, 0, 0])).is_err());
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(
            frames in proptest::collection::vec((1u8..3, proptest::collection::vec(any::<u8>(), 0..50)), 0..8),
            step in 1usize..20,
        ) {
            let wire: Vec<u8> = frames.iter().flat_map(|(stream, text)| frame(*stream, text)).collect();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut demux = Demux::default();
            for chunk in wire.chunks(step) {
                for (channel, piece) in demux.feed(Bytes::copy_from_slice(chunk)).unwrap() {
                    match channel {
                        Channel::Stdout => out.extend_from_slice(&piece),
                        Channel::Stderr => err.extend_from_slice(&piece),
                    }
                }
            }
            let expected = |wanted: u8| -> Vec<u8> {
                frames.iter().filter(|(stream, _)| *stream == wanted).flat_map(|(_, text)| text.clone()).collect()
            };
            prop_assert_eq!(out, expected(1));
            prop_assert_eq!(err, expected(2));
        }
    }
}
