//! One output of a process: read when there is something, hand on, and know when all is handed on.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use shim_api::log_format::Stream;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::streams::Outputs;
use crate::runtime::builtin::raw;

/// Read at once; shared by all relays, as there is one thread.
const CHUNK_BYTES: usize = 32 << 10;
/// After the process's end this much more is read at most before its exit is published: a grandchild that holds the
/// stream open and writes on does not hold the exit back.
const DRAIN_BYTES_MAX: usize = 2 << 20;
/// What was written to a terminal arrives a moment later.
const TERMINAL_SETTLE: Duration = Duration::from_millis(100);
/// What another shim still carries when it says that the process has ended; it closes the FIFO after the last byte.
const FIFO_SETTLE: Duration = Duration::from_secs(2);

thread_local! {
    static CHUNK: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Where output is read.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// A pipe's end.
    Pipe(Rc<AsyncFd<OwnedFd>>),
    /// Our end of a terminal.
    Terminal(Rc<AsyncFd<OwnedFd>>),
    /// A FIFO that another shim writes what it reads from the process.
    Fifo(Rc<AsyncFd<OwnedFd>>),
}

impl Source {
    pub(crate) fn pipe(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self::Pipe(Rc::new(raw::watch(fd, Interest::READABLE)?)))
    }

    pub(crate) fn fifo(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self::Fifo(Rc::new(raw::watch(fd, Interest::READABLE)?)))
    }

    const fn fd(&self) -> &Rc<AsyncFd<OwnedFd>> {
        match self {
            Self::Pipe(fd) | Self::Terminal(fd) | Self::Fifo(fd) => fd,
        }
    }

    /// How long after the process's end something that it wrote may still come.
    const fn settles(&self) -> Duration {
        match self {
            Self::Pipe(_) => Duration::ZERO,
            Self::Terminal(_) => TERMINAL_SETTLE,
            Self::Fifo(_) => FIFO_SETTLE,
        }
    }
}

enum Read {
    Some(bytes::Bytes, usize),
    Nothing,
    End,
}

/// Reads once, logs what was read, and answers it for those who want it too.
fn read_now(source: &Source, stream: Stream, outputs: &Outputs) -> Read {
    CHUNK.with_borrow_mut(|chunk| {
        chunk.resize(CHUNK_BYTES, 0);
        let read = match rustix::io::read(source.fd().get_ref(), &mut chunk[..]) {
            Ok(0) | Err(rustix::io::Errno::IO) => Read::End,
            Ok(len) => {
                outputs.log.borrow_mut().write(stream, &chunk[..len]);
                let wanted = outputs.wants(stream);
                let bytes = if wanted { bytes::Bytes::copy_from_slice(&chunk[..len]) } else { bytes::Bytes::new() };
                Read::Some(bytes, len)
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Read::Nothing,
            Err(_) => Read::End,
        };
        // An idle shim keeps no buffer.
        if !matches!(read, Read::Some(..)) {
            *chunk = Vec::new();
        }
        read
    })
}

/// Relays until the end of the stream. `exited` turns true when the process has ended; `drained` is told when
/// everything that it had written by then is handed on.
pub(crate) async fn run(
    source: Source,
    stream: Stream,
    outputs: Rc<Outputs>,
    mut exited: watch::Receiver<bool>,
    drained: oneshot::Sender<()>,
) {
    let mut drained = Some(drained);
    let mut after_exit = 0_usize;
    let mut settled = None;
    loop {
        match read_now(&source, stream, &outputs) {
            Read::Some(bytes, len) => {
                if *exited.borrow() {
                    after_exit += len;
                }
                outputs.deliver(stream, bytes).await;
                outputs.room_in_log().await;
                if after_exit > DRAIN_BYTES_MAX {
                    tell(&mut drained);
                }
                tokio::task::yield_now().await;
                continue;
            }
            Read::End => break,
            Read::Nothing => {}
        }
        if *exited.borrow() && drained.is_some() {
            let until = *settled.get_or_insert_with(|| Instant::now() + source.settles());
            if Instant::now() < until {
                let _ = tokio::time::timeout_at(until, wait_readable(&source)).await;
                continue;
            }
            outputs.log.borrow_mut().flush(stream);
            tell(&mut drained);
        }
        let gone = *exited.borrow();
        tokio::select! {
            () = wait_readable(&source) => {}
            changed = exited.changed(), if !gone => if changed.is_err() { break },
        }
    }
    outputs.log.borrow_mut().flush(stream);
    tell(&mut drained);
}

fn tell(drained: &mut Option<oneshot::Sender<()>>) {
    if let Some(drained) = drained.take() {
        let _ = drained.send(());
    }
}

/// Readiness is cleared first, so that this waits for what comes after the last read.
async fn wait_readable(source: &Source) {
    let Ok(mut guard) = source.fd().readable().await else { return };
    let nothing = guard.try_io(|fd| {
        let mut fds = [rustix::event::PollFd::new(fd.get_ref(), rustix::event::PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        match rustix::event::poll(&mut fds, Some(&now)) {
            Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(()),
        }
    });
    if nothing.is_err() {
        let _ = source.fd().readable().await;
    }
}
