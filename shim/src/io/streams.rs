//! The streams of one process: who gets its output, who may write its input.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use shim_api::attach::{Frame, FrameKind};
use shim_api::log_format::Stream;
use shim_api::options::LogSink;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::log_writer::LogWriter;
use super::relay::{self, Source};
use crate::runtime::Stdio;
use crate::runtime::builtin::raw;

/// Clients attached to one process.
pub(crate) const ATTACHED_MAX: usize = 32;
/// Frames that wait for one client; then the container waits, as it would for a terminal.
const QUEUED_FRAMES_MAX: usize = 16;
/// A client that takes nothing for this long is dropped, so that a stuck reader does not hold the container for ever.
const STALL_MAX: Duration = Duration::from_secs(60);
/// Exec output waits this long for its client.
const FIRST_ATTACH_MAX: Duration = Duration::from_secs(30);
/// Exit is not held back longer than this by slow readers of the last output.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// Nor longer than this by readers that take nothing at all: whoever asked for the process's end waits for its exit.
const STUCK_MAX: Duration = Duration::from_secs(2);

/// What is asked of the streams.
#[derive(Debug, Default)]
pub(crate) struct StreamOptions<'a> {
    pub(crate) terminal: bool,
    pub(crate) stdin: bool,
    pub(crate) stdin_once: bool,
    pub(crate) log: LogSink,
    pub(crate) wait_for_attach: bool,
    /// containerd's FIFOs; empty where there is none.
    pub(crate) fifos: [&'a str; 3],
    /// Another shim runs the process: its streams are FIFOs made in this folder, and its terminal is that shim's.
    pub(crate) elsewhere: Option<PathBuf>,
}

/// Who gets output.
#[derive(Debug)]
pub(crate) struct Outputs {
    pub(crate) log: RefCell<LogWriter>,
    attached: RefCell<Vec<Attached>>,
    fifos: RefCell<[Option<Rc<AsyncFd<OwnedFd>>>; 2]>,
    next_id: Cell<u64>,
    someone: Notify,
    /// Chunks that were handed on.
    delivered: Cell<u64>,
}

#[derive(Debug)]
struct Attached {
    id: u64,
    stdout: bool,
    stderr: bool,
    frames: mpsc::Sender<Frame>,
}

impl Outputs {
    /// Whether anyone but the log wants this stream.
    pub(crate) fn wants(&self, stream: Stream) -> bool {
        self.fifos.borrow()[fifo_slot(stream)].is_some() || self.attached.borrow().iter().any(|a| a.takes(stream))
    }

    /// Hands a chunk to everyone who wants it, waiting for those who are slow.
    pub(crate) async fn deliver(&self, stream: Stream, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let fifo = self.fifos.borrow()[fifo_slot(stream)].clone();
        if let Some(fifo) = fifo {
            let written = tokio::time::timeout(STALL_MAX, write_all(&fifo, &bytes)).await;
            if !matches!(written, Ok(Ok(()))) {
                self.fifos.borrow_mut()[fifo_slot(stream)] = None;
            }
        }
        let kind = if stream == Stream::Stdout { FrameKind::Stdout } else { FrameKind::Stderr };
        let takers: Vec<_> = {
            let attached = self.attached.borrow();
            attached.iter().filter(|a| a.takes(stream)).map(|a| (a.id, a.frames.clone())).collect()
        };
        for (id, frames) in takers {
            let frame = Frame::new(kind, bytes.clone());
            let sent = tokio::time::timeout(STALL_MAX, frames.send(frame)).await;
            if !matches!(sent, Ok(Ok(()))) {
                self.detach(id);
            }
        }
        self.delivered.set(self.delivered.get() + 1);
    }

    /// Waits, within limits, until the log's receiver has taken enough.
    pub(crate) async fn room_in_log(&self) {
        let remote = self.log.borrow().remote().cloned();
        if let Some(remote) = remote {
            remote.room().await;
        }
    }

    fn detach(&self, id: u64) {
        self.attached.borrow_mut().retain(|a| a.id != id);
    }

    /// Everything is delivered: attached clients are told the end, FIFOs are closed.
    fn close(&self) {
        self.attached.borrow_mut().clear();
        *self.fifos.borrow_mut() = [None, None];
    }
}

impl Attached {
    const fn takes(&self, stream: Stream) -> bool {
        match stream {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        }
    }
}

const fn fifo_slot(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

/// Writes all, as the reader takes it.
pub(crate) async fn write_all(fd: &AsyncFd<OwnedFd>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let mut guard = fd.writable().await?;
        match guard.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), bytes)?)) {
            Ok(Ok(len)) => bytes = &bytes[len..],
            Ok(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
            Ok(Err(e)) => return Err(e),
            Err(_would_block) => {}
        }
    }
    Ok(())
}

/// The streams of a process.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) outputs: Rc<Outputs>,
    stdin: RefCell<Option<Rc<AsyncFd<OwnedFd>>>>,
    console: RefCell<Option<Rc<AsyncFd<OwnedFd>>>>,
    stdin_once: bool,
    stdin_owned: Cell<bool>,
    terminal: bool,
    wait_for_attach: bool,
    stdin_fifo: String,
    sources: RefCell<Vec<(Source, Stream)>>,
    drained: RefCell<Vec<oneshot::Receiver<()>>>,
    begun: watch::Sender<bool>,
    exited: watch::Sender<bool>,
    closed: Cell<bool>,
}

/// A client's subscription.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// Frames for the client; its end is the end of the output.
    pub(crate) frames: mpsc::Receiver<Frame>,
    /// The client owns standard input.
    pub(crate) owns_stdin: bool,
    id: u64,
}

impl Streams {
    /// Makes the streams, and the ends that the process gets.
    pub(crate) fn new(options: &StreamOptions<'_>) -> io::Result<(Rc<Self>, Stdio)> {
        let log = LogWriter::open(options.log.clone())?;
        let fifo = |path: &str| -> io::Result<Option<Rc<AsyncFd<OwnedFd>>>> {
            if path.is_empty() {
                return Ok(None);
            }
            Ok(Some(Rc::new(raw::watch(sys::fifo::open_write(Path::new(path))?, Interest::WRITABLE)?)))
        };
        let fifos = [fifo(options.fifos[1])?, fifo(options.fifos[2])?];
        let outputs = Outputs {
            log: RefCell::new(log),
            attached: RefCell::default(),
            fifos: RefCell::new(fifos),
            next_id: Cell::new(0),
            someone: Notify::new(),
            delivered: Cell::new(0),
        };
        let streams = Self {
            outputs: Rc::new(outputs),
            stdin: RefCell::default(),
            console: RefCell::default(),
            stdin_once: options.stdin_once,
            stdin_owned: Cell::new(false),
            terminal: options.terminal,
            wait_for_attach: options.wait_for_attach,
            stdin_fifo: options.fifos[0].to_owned(),
            sources: RefCell::default(),
            drained: RefCell::default(),
            begun: watch::Sender::new(false),
            exited: watch::Sender::new(false),
            closed: Cell::new(false),
        };
        let own_terminal = options.terminal && options.elsewhere.is_none();
        let stdio = if own_terminal { Stdio::default() } else { streams.pipes(options)? };
        Ok((Rc::new(streams), stdio))
    }

    fn pipes(&self, options: &StreamOptions<'_>) -> io::Result<Stdio> {
        let mut stdio = Stdio { folder: options.elsewhere.clone(), ..Stdio::default() };
        let pipe = |name: &str| -> io::Result<(OwnedFd, OwnedFd)> {
            let Some(folder) = &options.elsewhere else {
                let (read, write) = io::pipe()?;
                return Ok((read.into(), write.into()));
            };
            std::fs::create_dir_all(folder)?;
            sys::fifo::pair(&folder.join(name))
        };
        for (stream, name) in [(Stream::Stdout, "stdout"), (Stream::Stderr, "stderr")] {
            if options.terminal && stream == Stream::Stderr {
                continue;
            }
            let (read, write) = pipe(name)?;
            let source = if options.elsewhere.is_some() { Source::fifo(read)? } else { Source::pipe(read)? };
            self.sources.borrow_mut().push((source, stream));
            match stream {
                Stream::Stdout => stdio.stdout = Some(write),
                Stream::Stderr => stdio.stderr = Some(write),
            }
        }
        if options.stdin || options.terminal || !options.fifos[0].is_empty() {
            let (read, write) = pipe("stdin")?;
            rustix::io::ioctl_fionbio(&write, true)?;
            *self.stdin.borrow_mut() = Some(Rc::new(raw::watch(write, Interest::WRITABLE)?));
            stdio.stdin = Some(read);
        }
        Ok(stdio)
    }

    /// Begins to relay, once the process exists. `console` is our end of its terminal.
    pub(crate) fn begin(self: &Rc<Self>, console: Option<OwnedFd>) -> io::Result<()> {
        if let Some(console) = console {
            rustix::io::ioctl_fionbio(&console, true)?;
            let console = Rc::new(raw::watch(console, Interest::READABLE | Interest::WRITABLE)?);
            self.sources.borrow_mut().push((Source::Terminal(Rc::clone(&console)), Stream::Stdout));
            *self.stdin.borrow_mut() = Some(Rc::clone(&console));
            *self.console.borrow_mut() = Some(console);
        }
        for (source, stream) in std::mem::take(&mut *self.sources.borrow_mut()) {
            let (drained, told) = oneshot::channel();
            self.drained.borrow_mut().push(told);
            let (outputs, exited) = (Rc::clone(&self.outputs), self.exited.subscribe());
            let wait = self.wait_for_attach;
            tokio::task::spawn_local(async move {
                if wait {
                    let _ = tokio::time::timeout(FIRST_ATTACH_MAX, outputs.attached_once()).await;
                }
                relay::run(source, stream, outputs, exited, drained).await;
            });
        }
        self.begun.send_replace(true);
        if !self.stdin_fifo.is_empty() {
            let fifo = raw::watch(sys::fifo::open_read(Path::new(&self.stdin_fifo))?, Interest::READABLE)?;
            tokio::task::spawn_local(Rc::clone(self).copy_stdin(fifo));
        }
        Ok(())
    }

    /// containerd's FIFO to the process, until the writer closes it (which is announced by CloseIO as well).
    async fn copy_stdin(self: Rc<Self>, fifo: AsyncFd<OwnedFd>) {
        let mut exited = self.exited.subscribe();
        let mut chunk = vec![0; 8 << 10];
        loop {
            let ready = tokio::select! {
                ready = fifo.readable() => ready,
                _ = exited.wait_for(|exited| *exited) => return,
            };
            let Ok(mut guard) = ready else { return };
            match guard.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut chunk[..])?)) {
                Ok(Ok(0)) => break,
                Ok(Ok(len)) => {
                    if self.write_stdin(&chunk[..len]).await.is_err() {
                        return;
                    }
                }
                Ok(Err(_)) => break,
                Err(_would_block) => {}
            }
        }
        self.close_stdin();
    }

    /// Subscribes a client: nothing that is written from now on is missed.
    pub(crate) fn attach(&self, stdin: bool, stdout: bool, stderr: bool) -> io::Result<Subscription> {
        let mut attached = self.outputs.attached.borrow_mut();
        if attached.len() >= ATTACHED_MAX {
            return Err(io::Error::other(format!("{ATTACHED_MAX} clients are attached already")));
        }
        let id = self.outputs.next_id.get();
        self.outputs.next_id.set(id + 1);
        let (sender, frames) = mpsc::channel(QUEUED_FRAMES_MAX);
        if !self.closed.get() {
            attached.push(Attached { id, stdout, stderr, frames: sender });
        }
        // An exec's terminal exists only once its process does; its client attaches before.
        let takes_input = self.stdin.borrow().is_some() || (self.terminal && !*self.begun.borrow());
        let owns_stdin = stdin && takes_input && !self.stdin_owned.replace(true);
        self.outputs.someone.notify_waiters();
        Ok(Subscription { frames, owns_stdin, id })
    }

    /// Ends a client's subscription.
    pub(crate) fn detach(&self, subscription: &Subscription) {
        self.outputs.detach(subscription.id);
        if subscription.owns_stdin {
            self.release_stdin();
        }
    }

    fn release_stdin(&self) {
        self.stdin_owned.set(false);
        if self.stdin_once && !self.terminal {
            self.close_stdin();
        }
    }

    /// The owner says that no more input comes.
    pub(crate) fn half_close(&self) {
        if self.stdin_once && !self.terminal {
            self.close_stdin();
        }
    }

    /// Writes to standard input, as the process takes it. Input for a terminal that does not exist yet waits for it.
    pub(crate) async fn write_stdin(&self, bytes: &[u8]) -> io::Result<()> {
        let mut exited = self.exited.subscribe();
        if self.terminal {
            let mut begun = self.begun.subscribe();
            tokio::select! {
                _ = begun.wait_for(|begun| *begun) => {}
                _ = exited.wait_for(|exited| *exited) => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
        let stdin = self.stdin.borrow().clone();
        let Some(stdin) = stdin else { return Err(io::ErrorKind::BrokenPipe.into()) };
        tokio::select! {
            result = write_all(&stdin, bytes) => result,
            _ = exited.wait_for(|exited| *exited) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Closes standard input.
    pub(crate) fn close_stdin(&self) {
        *self.stdin.borrow_mut() = None;
    }

    /// Sets the terminal's size in characters.
    pub(crate) fn resize(&self, width: u16, height: u16) -> io::Result<()> {
        match &*self.console.borrow() {
            Some(console) => sys::pty::set_size(console.get_ref(), width, height),
            None => Err(io::Error::new(io::ErrorKind::Unsupported, "the process has no terminal")),
        }
    }

    /// The process has ended: waits until what it wrote is handed on, then tells attached clients the end.
    pub(crate) async fn finish(&self) {
        self.exited.send_replace(true);
        self.close_stdin();
        if !self.drain().await {
            crate::journal::say("the last output of a process is held up by slow readers; its exit is published now");
        }
        let remote = self.outputs.log.borrow().remote().cloned();
        if let Some(remote) = remote {
            remote.finish().await;
        }
        self.closed.set(true);
        self.outputs.close();
        *self.console.borrow_mut() = None;
    }
}

impl Streams {
    /// Waits until all output is handed on. `false` when its readers take too long, or take nothing; the first reader
    /// of an exec may still be on its way.
    async fn drain(&self) -> bool {
        let drained = std::mem::take(&mut *self.drained.borrow_mut());
        let all = async {
            for told in drained {
                let _ = told.await;
            }
        };
        tokio::pin!(all);
        let give_up = Instant::now() + DRAIN_MAX;
        loop {
            let before = self.outputs.delivered.get();
            let until = give_up.min(Instant::now() + STUCK_MAX);
            if tokio::time::timeout_at(until, &mut all).await.is_ok() {
                return true;
            }
            let awaited = self.wait_for_attach && self.outputs.next_id.get() == 0;
            let stuck = before == self.outputs.delivered.get() && !awaited;
            if stuck || Instant::now() >= give_up {
                return false;
            }
        }
    }
}

impl Outputs {
    async fn attached_once(&self) {
        loop {
            let someone = self.someone.notified();
            if self.next_id.get() > 0 {
                return;
            }
            someone.await;
        }
    }
}
