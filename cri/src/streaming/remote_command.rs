//! Exec and attach: a process of the engine on one side, the channels of a client on the other.

use bytes::{Bytes, BytesMut};
use engine::container::{AttachOptions, AttachedIo, Stream};
use engine::spec::ExecSpec;
use engine::{ContainerHandle, ExecHandle};
use serde::Deserialize;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use super::channel::{Gone, Incoming, Outgoing, Received};
use super::limits::{DRAIN_MAX, FIRST_SIZE_MAX, LEAVE_MAX};
use super::status::{Outcome, StatusForm, encode};

/// Longest JSON of a terminal's size.
const SIZE_BYTES_MAX: usize = 1024;

/// What is to be talked to.
#[derive(Debug)]
pub(super) enum Command {
    /// A process that is still to start.
    Exec(ContainerHandle, ExecSpec),
    /// The first process.
    Attach(ContainerHandle, AttachOptions),
}

impl Command {
    /// Which channels its client has.
    pub(super) fn wants(&self, resize: bool) -> Wants {
        let (stdin, stdout, stderr, tty) = match self {
            Self::Exec(_, spec) => (spec.stdin, spec.stdout, spec.stderr, spec.tty),
            Self::Attach(container, options) => {
                (options.stdin, options.stdout, options.stderr, container.view().spec.process.tty)
            }
        };
        Wants { stdin, stdout, stderr, resize: resize && tty }
    }
}

/// Channels of a client besides the one for errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wants {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    pub(super) resize: bool,
}

/// A client's channels; those that it did not ask for are missing.
#[derive(Debug)]
pub(super) struct Channels {
    pub(super) stdin: Option<Incoming>,
    pub(super) stdout: Option<Outgoing>,
    pub(super) stderr: Option<Outgoing>,
    pub(super) error: Outgoing,
    pub(super) resize: Option<Incoming>,
    pub(super) status: StatusForm,
}

/// Talks until the process's output and its end are told, or the client has gone.
pub(super) async fn run(command: Command, mut channels: Channels, gone: CancellationToken) {
    let outcome = match command {
        Command::Exec(container, spec) => exec(&container, spec, &mut channels, &gone).await,
        Command::Attach(container, options) => attach(&container, options, &mut channels, &gone).await,
    };
    let Some(outcome) = outcome else { return };
    let Channels { stdout, stderr, error, status, .. } = channels;
    // An error means that the client has gone; there is nobody to tell.
    let _ = tell(stdout, stderr, error, encode(&outcome, status)).await;
}

async fn tell(stdout: Option<Outgoing>, stderr: Option<Outgoing>, error: Outgoing, status: Bytes) -> Result<(), Gone> {
    for stream in [stdout, stderr].into_iter().flatten() {
        stream.finish().await?;
    }
    error.send(status).await?;
    error.finish().await
}

async fn exec(
    container: &ContainerHandle,
    spec: ExecSpec,
    channels: &mut Channels,
    gone: &CancellationToken,
) -> Option<Outcome> {
    let failed = |error: &engine::Error| Outcome::Failed(format!("error executing command in container: {error}"));
    let mut sizes = channels.resize.take().map(Sizes::new);
    let handle = match container.exec(spec).await {
        Ok(handle) => handle,
        Err(error) => return Some(failed(&error)),
    };
    let first = match &mut sizes {
        // Clients send it at once; without one the process starts all the same.
        Some(sizes) => tokio::time::timeout(FIRST_SIZE_MAX, sizes.next()).await.ok().flatten(),
        None => None,
    };
    let mut io = match handle.start(first.map(|size| (size.height, size.width))).await {
        Ok(io) => io,
        Err(error) => return Some(failed(&error)),
    };
    let resized = |size: Size| {
        let handle = handle.clone();
        async move { handle.resize(size.height, size.width).await }
    };
    let ended = async { drop(handle.wait().await) };
    let talk = async {
        converse(&mut io, channels, sizes, resized, ended).await.ok()?;
        // Its streams are over; it may go on without them.
        Some(handle.wait().await)
    };
    match gone.run_until_cancelled(talk).await.flatten() {
        Some(Ok(0)) => Some(Outcome::Success),
        Some(Ok(code)) => Some(Outcome::ExitCode(code)),
        Some(Err(error)) => Some(failed(&error)),
        None => {
            tokio::spawn(leave(handle, io));
            None
        }
    }
}

/// What becomes of a process whose client has gone. On a terminal it is told so; else its input ends. Without that it
/// might wait for input for ever, and nobody would know of it.
async fn leave(exec: ExecHandle, mut io: AttachedIo) {
    if io.tty {
        if let Err(error) = exec.hang_up().await {
            tracing::debug!(%error, exec = %exec.id(), "streaming: an exec was not told of its client's going");
        }
        return;
    }
    let Some(stdin) = &mut io.stdin else { return };
    // An error means that the process has gone, too.
    let _ = stdin.shutdown().await;
    // To let the output go at once would say that the client has only detached.
    let drained = async { while io.output.recv().await.is_some() {} };
    let _ = tokio::time::timeout(LEAVE_MAX, drained).await;
}

async fn attach(
    container: &ContainerHandle,
    options: AttachOptions,
    channels: &mut Channels,
    gone: &CancellationToken,
) -> Option<Outcome> {
    let mut io = match container.attach(options).await {
        Ok(io) => io,
        Err(error) => return Some(Outcome::Failed(format!("error attaching to container: {error}"))),
    };
    let sizes = channels.resize.take().map(Sizes::new);
    let resized = |size: Size| {
        let container = container.clone();
        async move { container.resize(size.height, size.width).await }
    };
    // The end of the output is the end of the talk, whatever the process's exit code will be.
    let talk = converse(&mut io, channels, sizes, resized, std::future::pending());
    let ended: Result<(), Gone> = gone.run_until_cancelled(talk).await?;
    ended.ok().map(|()| Outcome::Success)
}

/// Carries input, output and sizes until the output is over; see [`carry_output`] for `ended`.
async fn converse<R: Future<Output = engine::Result<()>>>(
    io: &mut AttachedIo,
    channels: &mut Channels,
    sizes: Option<Sizes>,
    resized: impl Fn(Size) -> R,
    ended: impl Future<Output = ()>,
) -> Result<(), Gone> {
    let input = feed(channels.stdin.take(), io.stdin.as_mut());
    let sizes = follow(sizes, resized);
    let output = carry_output(&mut io.output, channels.stdout.as_ref(), channels.stderr.as_ref(), ended);
    tokio::select! {
        outcome = output => outcome,
        () = async { tokio::join!(input, sizes); std::future::pending().await } => Ok(()),
    }
}

/// Carries input to the process. Its end is the end of the input, and of nothing else.
async fn feed(incoming: Option<Incoming>, stdin: Option<&mut (impl AsyncWrite + Unpin)>) {
    let Some(mut incoming) = incoming else { return };
    // What an attach to a process without input sends is discarded with `incoming`.
    let Some(stdin) = stdin else { return };
    loop {
        match incoming.receive().await {
            Received::Data(data) => {
                if stdin.write_all(&data).await.is_err() || stdin.flush().await.is_err() {
                    // The process has gone or closed its input; its output may go on.
                    return;
                }
            }
            Received::End => {
                // An error means that nobody reads it any more.
                let _ = stdin.shutdown().await;
                return;
            }
            // The stream was reset. An open input waits for nobody then: it is held until the talk is over.
            Received::Gone => std::future::pending().await,
        }
    }
}

async fn follow<R: Future<Output = engine::Result<()>>>(sizes: Option<Sizes>, resized: impl Fn(Size) -> R) {
    let Some(mut sizes) = sizes else { return };
    while let Some(size) = sizes.next().await {
        if let Err(error) = resized(size).await {
            tracing::debug!(%error, "streaming: a terminal was not resized");
        }
    }
}

/// Carries output until it is over. A process that has `ended` may leave children that hold its streams: they are not
/// waited for longer than [`DRAIN_MAX`] after the last output.
async fn carry_output(
    output: &mut tokio::sync::mpsc::Receiver<(Stream, Bytes)>,
    stdout: Option<&Outgoing>,
    stderr: Option<&Outgoing>,
    ended: impl Future<Output = ()>,
) -> Result<(), Gone> {
    tokio::pin!(ended);
    let mut end = false;
    loop {
        let piece = tokio::select! {
            piece = output.recv() => piece,
            () = &mut ended, if !end => {
                end = true;
                continue;
            }
            () = tokio::time::sleep(DRAIN_MAX), if end => None,
        };
        let Some((stream, data)) = piece else { return Ok(()) };
        let outgoing = match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        };
        if let Some(outgoing) = outgoing {
            outgoing.send(data).await?;
        }
    }
}

/// The size of a terminal in characters, as clients send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    width: u16,
    height: u16,
}

/// Sizes out of a channel: JSON documents one after the other.
#[derive(Debug)]
struct Sizes {
    incoming: Incoming,
    unread: BytesMut,
}

impl Sizes {
    fn new(incoming: Incoming) -> Self {
        Self { incoming, unread: BytesMut::new() }
    }

    /// The next size; `None` when no more come. Cancel safe.
    async fn next(&mut self) -> Option<Size> {
        loop {
            match take_size(&mut self.unread) {
                Ok(Some(size)) => return Some(size),
                Ok(None) => {}
                Err(Unreadable) => return None,
            }
            match self.incoming.receive().await {
                Received::Data(data) => self.unread.extend_from_slice(&data),
                Received::End | Received::Gone => return None,
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Unreadable;

fn take_size(unread: &mut BytesMut) -> Result<Option<Size>, Unreadable> {
    let mut documents = serde_json::Deserializer::from_slice(unread).into_iter::<Size>();
    let (first, taken) = (documents.next(), documents.byte_offset());
    match first {
        Some(Ok(size)) => {
            drop(unread.split_to(taken));
            Ok(Some(size))
        }
        None => {
            unread.clear();
            Ok(None)
        }
        Some(Err(error)) if error.is_eof() && unread.len() <= SIZE_BYTES_MAX => Ok(None),
        Some(Err(_)) => Err(Unreadable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_pieces() {
        let mut unread = BytesMut::from(&b"{\"Width\":80,\"Height\":24}\n{\"Width\":"[..]);
        assert_eq!(take_size(&mut unread), Ok(Some(Size { width: 80, height: 24 })));
        assert_eq!(take_size(&mut unread), Ok(None));
        unread.extend_from_slice(b"100,\"Height\":30}\n");
        assert_eq!(take_size(&mut unread), Ok(Some(Size { width: 100, height: 30 })));
        assert_eq!(take_size(&mut unread), Ok(None));
        assert!(unread.is_empty());
    }

    #[test]
    fn what_is_no_size_ends_the_sizes() {
        for text in ["[]", "{\"Width\":-1,\"Height\":2}", "{\"Width\":70000,\"Height\":2}", "x"] {
            assert_eq!(take_size(&mut BytesMut::from(text)), Err(Unreadable), "{text}");
        }
        let endless = format!("{{\"Width\":1,\"Height\":2,\"x\":\"{}", "y".repeat(SIZE_BYTES_MAX));
        assert_eq!(take_size(&mut BytesMut::from(&endless[..])), Err(Unreadable));
    }
}
