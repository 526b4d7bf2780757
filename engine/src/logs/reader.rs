//! One reader of a container's log: what is there, then what comes, until the container ends.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use shim_api::log_format;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};

use crate::container::{ContainerHandle, ContainerView, LogLine, LogOptions, LogReceiver, Phase, Stream};
use crate::error::{Error, Result};
use crate::logs::files::{self, Framing, Line, LogFile};
use crate::readiness::readable;
use crate::spec::LogSpec;

/// Lines that wait for a slow client.
const LINES_WAITING_MAX: usize = 256;
/// Lines carried from the file at once, before other work gets a turn.
const LINES_AT_ONCE_MAX: usize = 512;
/// A change that no notification told of (a directory that was replaced) is seen after this time.
const POLL: std::time::Duration = std::time::Duration::from_secs(2);

/// Which format a line is in.
#[derive(Debug, Clone, Copy)]
enum Format {
    Json,
    Local,
    Cri,
}

impl Format {
    const fn framing(self) -> Framing {
        match self {
            Self::Json | Self::Cri => Framing::Newline,
            Self::Local => Framing::Length,
        }
    }
}

/// Reads a container's log as `options` say.
///
/// # Errors
/// `NotImplemented` when its log is not kept.
pub(crate) fn read(container: &ContainerHandle, options: LogOptions) -> Result<LogReceiver> {
    let view = container.view();
    let format = match &view.spec.log {
        LogSpec::JsonFile { .. } => Format::Json,
        LogSpec::Cri { .. } => Format::Cri,
        log if log.is_readable() => Format::Local,
        _ => {
            return Err(Error::not_implemented("configured logging driver does not support reading"));
        }
    };
    let (sender, receiver) = mpsc::channel(LINES_WAITING_MAX);
    let follow = options.follow && runs(&view);
    let reader = Reader { path: view.log_path.clone().into(), format, options, file: None, queue: Vec::new() };
    let views = container.watch();
    tokio::spawn(async move {
        if let Err(error) = carry(reader, follow.then_some(views), &sender).await {
            drop(sender.send(Err(error)).await);
        }
    });
    Ok(receiver)
}

fn runs(view: &ContainerView) -> bool {
    matches!(view.phase, Phase::Starting | Phase::Running | Phase::Paused)
}

/// Where a reader stands.
#[derive(Debug)]
struct Reader {
    path: PathBuf,
    format: Format,
    options: LogOptions,
    file: Option<LogFile>,
    /// Files still to be read before the current one, in reverse.
    queue: Vec<(PathBuf, u64)>,
}

/// What a round of reading brought.
struct Round {
    lines: Vec<LogLine>,
    /// There may be more at once.
    more: bool,
    /// The time limit was passed.
    over: bool,
}

async fn carry(
    mut reader: Reader,
    mut follow: Option<watch::Receiver<Arc<ContainerView>>>,
    sender: &mpsc::Sender<Result<LogLine>>,
) -> Result<()> {
    // Watched before the first read: what is written between the two is told.
    let changes = follow.is_some().then(|| Changes::of(&reader.path)).flatten();
    reader = blocking(reader, |r| r.begin()).await?.0;
    loop {
        // Asked before reading: a container that has ended by now has written all it will.
        let ended = follow.as_mut().is_none_or(|views| !runs(&views.borrow_and_update()));
        loop {
            let (next, round) = blocking(reader, Reader::round).await?;
            reader = next;
            for line in round.lines {
                if sender.send(Ok(line)).await.is_err() {
                    return Ok(());
                }
            }
            if round.over {
                return Ok(());
            }
            if !round.more {
                break;
            }
        }
        let Some(views) = follow.as_mut().filter(|_| !ended) else { return Ok(()) };
        tokio::select! {
            () = changed(changes.as_ref()) => {}
            view = views.changed() => if view.is_err() { follow = None },
            () = sender.closed() => return Ok(()),
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

async fn blocking<T: Send + 'static>(
    mut reader: Reader,
    work: impl FnOnce(&mut Reader) -> Result<T> + Send + 'static,
) -> Result<(Reader, T)> {
    let done = tokio::task::spawn_blocking(move || work(&mut reader).map(|value| (reader, value)));
    done.await.map_err(|e| Error::internal("read a log").with_source(e))?
}

impl Reader {
    /// Finds where to begin.
    fn begin(&mut self) -> Result<()> {
        let mut all = files::all(&self.path);
        if matches!(self.format, Format::Cri) {
            // The kubelet renames CRI logs by time and reads the old ones itself.
            all = vec![self.path.clone()];
        }
        all.retain(|path| path.exists());
        let from = match self.options.tail {
            Some(lines) => files::last_lines(&all, lines, self.format.framing())?,
            None => all.into_iter().map(|path| (path, 0)).collect(),
        };
        self.queue = from;
        // `--tail 0` still follows from here on.
        if self.queue.is_empty() && self.path.exists() {
            let end = std::fs::metadata(&self.path)?.len();
            self.queue.push((self.path.clone(), end));
        }
        self.queue.reverse();
        Ok(())
    }

    /// Reads some lines.
    fn round(&mut self) -> Result<Round> {
        let mut round = Round { lines: Vec::new(), more: false, over: false };
        for _ in 0..LINES_AT_ONCE_MAX {
            if self.file.is_none() && !self.open_next()? {
                return Ok(round);
            }
            let Some(file) = &mut self.file else { return Ok(round) };
            match file.next()? {
                Line::Whole(text) => self.take(&text, &mut round),
                Line::End if self.is_left_behind() => self.file = None,
                Line::End => return Ok(round),
            }
            if round.over {
                return Ok(round);
            }
        }
        round.more = true;
        Ok(round)
    }

    fn take(&self, text: &[u8], round: &mut Round) {
        let parsed = match self.format {
            Format::Json => log_format::parse_json(text),
            Format::Cri => log_format::parse_cri(text),
            Format::Local => log_format::parse_local(text),
        };
        // What is no line of a log (a torn write of a full disk) is passed over.
        let Some(mut line) = parsed else { return };
        if self.options.until_ns > 0 && line.time_ns > self.options.until_ns {
            round.over = true;
            return;
        }
        let stream = match line.stream {
            log_format::Stream::Stdout if self.options.stdout => Stream::Stdout,
            log_format::Stream::Stderr if self.options.stderr => Stream::Stderr,
            _ => return,
        };
        if line.time_ns < self.options.since_ns {
            return;
        }
        if !line.partial {
            line.message.push(b'\n');
        }
        let data = Bytes::from(line.message);
        round.lines.push(LogLine { time_ns: line.time_ns, stream, data, attributes: line.attributes });
    }

    /// Whether the file at its end will not grow: an older one, or one that has been rotated away.
    fn is_left_behind(&mut self) -> bool {
        if !self.queue.is_empty() {
            return true;
        }
        let Some(file) = &self.file else { return false };
        use std::os::unix::fs::MetadataExt as _;
        match std::fs::metadata(&self.path) {
            Ok(meta) if meta.ino() != file.inode() => {
                self.queue.push((files::after(&self.path, file.inode()), 0));
                true
            }
            _ => false,
        }
    }

    fn open_next(&mut self) -> Result<bool> {
        let (path, offset) = match self.queue.pop() {
            Some(next) => next,
            None => (self.path.clone(), 0),
        };
        match LogFile::open(&path, offset, self.format.framing()) {
            Ok(file) => {
                self.file = Some(file);
                Ok(true)
            }
            // Rotated away between the look and the open, or not written yet.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(!self.queue.is_empty()),
            Err(error) => Err(Error::from(error).context(format!("read {}", path.display()))),
        }
    }
}

/// Tells of changes in the log's directory.
#[derive(Debug)]
struct Changes(AsyncFd<OwnedFd>);

impl Changes {
    fn of(path: &Path) -> Option<Self> {
        let watch = || -> std::io::Result<Self> {
            let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
            let events = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
            inotify::add_watch(&fd, path.parent().unwrap_or(Path::new("/")), events)?;
            Ok(Self(readable(fd)?))
        };
        watch().inspect_err(|error| tracing::debug!(%error, "log changes are polled for")).ok()
    }
}

async fn changed(changes: Option<&Changes>) {
    let Some(Changes(fd)) = changes else { return std::future::pending().await };
    let Ok(mut ready) = fd.readable().await else { return std::future::pending().await };
    let mut events = [0_u8; 4096];
    while rustix::io::read(fd.get_ref(), &mut events).is_ok_and(|count| count > 0) {}
    ready.clear_ready();
}
