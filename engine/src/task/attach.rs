//! The streams between a client and a process: one pair of ends, made before the process or after.

use bytes::Bytes;
use shim_api::attach::{AttachReader, AttachWriter, Frame, FrameKind};
use tokio::io::{AsyncReadExt as _, DuplexStream};
use tokio::sync::mpsc;

use crate::container::{AttachedIo, Stream};
use crate::task::AttachWish;

/// Bytes of input that wait for a process that does not read.
const STDIN_BUFFER_BYTES: usize = 64 << 10;
/// Pieces of output (64 KiB each at most) that wait for a client that does not read.
const OUTPUT_PIECES_MAX: usize = 16;

/// The engine's ends of an attached client.
#[derive(Debug)]
pub struct AttachEnds {
    /// What the client writes; `None` when it sends no input.
    pub stdin: Option<DuplexStream>,
    /// What the client reads.
    pub output: mpsc::Sender<(Stream, Bytes)>,
}

/// A client's ends and the engine's.
pub(crate) fn attached_pair(tty: bool, stdin: bool) -> (AttachedIo, AttachEnds) {
    let (sender, output) = mpsc::channel(OUTPUT_PIECES_MAX);
    let (client, engine) = if stdin {
        let (client, engine) = tokio::io::duplex(STDIN_BUFFER_BYTES);
        (Some(client), Some(engine))
    } else {
        (None, None)
    };
    let io =
        AttachedIo { tty, output, stdin: client.map(|c| Box::new(c) as Box<dyn tokio::io::AsyncWrite + Send + Unpin>) };
    (io, AttachEnds { stdin: engine, output: sender })
}

/// Carries bytes between `ends` and a connected process until its output ends or the client goes.
pub(crate) fn relay(ends: AttachEnds, wish: AttachWish, reader: AttachReader, writer: AttachWriter) {
    let AttachEnds { stdin, output } = ends;
    let input = tokio::spawn(carry_input(stdin, output.clone().downgrade(), writer));
    tokio::spawn(async move {
        carry_output(reader, wish, output).await;
        // The process's output is over or the client has gone: input has no use any more.
        input.abort();
    });
}

async fn carry_output(mut reader: AttachReader, wish: AttachWish, output: mpsc::Sender<(Stream, Bytes)>) {
    loop {
        let frame = tokio::select! {
            frame = reader.next() => frame,
            // The connection is dropped with this function, so the cut-off read is of no importance.
            () = output.closed() => return,
        };
        let piece = match frame {
            Ok(Some(Frame { kind: FrameKind::Stdout, payload })) if wish.stdout => (Stream::Stdout, payload),
            Ok(Some(Frame { kind: FrameKind::Stderr, payload })) if wish.stderr => (Stream::Stderr, payload),
            Ok(Some(Frame { kind: FrameKind::Stdout | FrameKind::Stderr, .. })) => continue,
            Ok(_) => return,
            Err(error) => {
                tracing::debug!(%error, "an attached stream broke");
                return;
            }
        };
        if output.send(piece).await.is_err() {
            return;
        }
    }
}

async fn carry_input(stdin: Option<DuplexStream>, output: mpsc::WeakSender<(Stream, Bytes)>, mut writer: AttachWriter) {
    if let Some(mut stdin) = stdin {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let count = match stdin.read(&mut buffer).await {
                Ok(count) if count > 0 => count,
                _ => break,
            };
            if writer.stdin(Bytes::copy_from_slice(&buffer[..count])).await.is_err() {
                return;
            }
        }
        // A client that half-closed still reads; one that has gone has detached, and closes nothing.
        let gone = output.upgrade().is_none_or(|sender| sender.is_closed());
        if !gone && writer.close_stdin().await.is_err() {
            return;
        }
    }
    // The writing half stays open, for closing it would look like the client's going.
    std::future::pending::<()>().await;
}
