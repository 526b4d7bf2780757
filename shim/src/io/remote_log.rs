//! Lines for another program: a bounded queue, and the task that hands them on for as long as the shim lives.
//!
//! A receiver that cannot be reached costs lines, never the container: while there is no connection new lines that do
//! not fit into the queue are lost and counted. While there is one a full queue holds the container up (unless it asked
//! not to be), but no longer than a write may last.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use shim_api::log_format::Stream;
use shim_api::options::LogReceiver;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::journal_entry;
use super::syslog::{self, Connection};

/// Time for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Time for a write; then the connection is given up.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// First and longest pause between connections.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// The end of a process waits this long for its last lines to be taken.
const FINISH_MAX: Duration = Duration::from_secs(2);
/// Bytes of messages that are written to a stream at once.
const BATCH_BYTES: usize = 64 << 10;
/// What a record takes in the queue beside its text.
const RECORD_BYTES: usize = 64;

/// A line that waits.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) time_ns: i64,
    pub(crate) stream: Stream,
    pub(crate) partial: bool,
    pub(crate) text: Vec<u8>,
}

impl Record {
    const fn bytes(&self) -> usize {
        self.text.len() + RECORD_BYTES
    }
}

/// How it stands with the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// The first connection is being made.
    Opening,
    Up,
    Down,
}

/// The queue of one log.
#[derive(Debug)]
pub(crate) struct RemoteLog {
    queue: RefCell<VecDeque<Record>>,
    bytes: Cell<usize>,
    bytes_max: usize,
    blocking: bool,
    link: Cell<Link>,
    lost: Cell<u64>,
    /// No more lines come.
    closed: Cell<bool>,
    /// The queue or the link has changed.
    changed: Notify,
}

impl RemoteLog {
    /// Begins to hand lines on.
    pub(super) fn start(receiver: LogReceiver, bytes_max: u64, blocking: bool) -> Rc<Self> {
        let log = Rc::new(Self {
            queue: RefCell::default(),
            bytes: Cell::new(0),
            bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX),
            blocking,
            link: Cell::new(Link::Opening),
            lost: Cell::new(0),
            closed: Cell::new(false),
            changed: Notify::new(),
        });
        tokio::task::spawn_local(Rc::clone(&log).hand_on(receiver));
        log
    }

    /// Takes a line, or counts it as lost.
    pub(super) fn push(&self, record: Record) {
        let full = self.bytes.get() + record.bytes() > self.bytes_max && !self.queue.borrow().is_empty();
        // What a blocking log holds beyond its limit is one read of a pipe: its reader waits for room next.
        if full && (!self.blocking || self.link.get() == Link::Down) {
            self.lost.set(self.lost.get() + 1);
            return;
        }
        self.bytes.set(self.bytes.get() + record.bytes());
        self.queue.borrow_mut().push_back(record);
        self.changed.notify_waiters();
    }

    /// Waits until the queue is within its limit again, if the receiver may hold the container up and does take lines.
    pub(super) async fn room(&self) {
        let room = || !self.blocking || self.bytes.get() <= self.bytes_max || self.link.get() == Link::Down;
        // The task gives up a connection in less; then lines are lost rather than waited for.
        let _ = timeout(CONNECT_MAX + WRITE_MAX, self.until(room)).await;
    }

    /// The process has ended: its last lines are waited for a little.
    pub(super) async fn finish(&self) {
        self.closed.set(true);
        self.changed.notify_waiters();
        let done = || self.queue.borrow().is_empty() || self.link.get() == Link::Down;
        let _ = timeout(FINISH_MAX, self.until(done)).await;
    }

    async fn until(&self, condition: impl Fn() -> bool) {
        loop {
            let changed = self.changed.notified();
            if condition() {
                return;
            }
            changed.await;
        }
    }

    fn set_link(&self, link: Link) {
        self.link.set(link);
        self.changed.notify_waiters();
    }

    async fn hand_on(self: Rc<Self>, receiver: LogReceiver) {
        let mut pause = PAUSE_MIN;
        loop {
            self.until(|| !self.queue.borrow().is_empty() || self.closed.get()).await;
            if self.queue.borrow().is_empty() {
                return self.tell_lost();
            }
            let failed = match timeout(CONNECT_MAX, connect(&receiver)).await {
                Ok(Ok(mut connection)) => {
                    self.set_link(Link::Up);
                    self.tell_lost();
                    let sent = self.send(&receiver, &mut connection).await;
                    match sent {
                        Ok(()) => return self.tell_lost(),
                        Err((e, progress)) => {
                            if progress {
                                pause = PAUSE_MIN;
                            }
                            e
                        }
                    }
                }
                Ok(Err(e)) => e,
                Err(_) => io::ErrorKind::TimedOut.into(),
            };
            if self.link.get() != Link::Down && pause == PAUSE_MIN {
                crate::journal::say(&format!("log receiver: {failed}; trying again"));
            }
            self.set_link(Link::Down);
            tokio::time::sleep(pause).await;
            if self.closed.get() && pause >= PAUSE_MAX {
                self.lost.set(self.lost.get() + self.queue.borrow().len() as u64);
                return self.tell_lost();
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn tell_lost(&self) {
        let lost = self.lost.take();
        if lost > 0 {
            crate::journal::say(&format!("log receiver: {lost} lines are lost"));
        }
    }

    /// Sends what waits and what comes. `Ok`: no more comes. The error says too whether anything was sent.
    async fn send(&self, receiver: &LogReceiver, connection: &mut Connection) -> Result<(), (io::Error, bool)> {
        let mut progress = false;
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                () = self.until(|| !self.queue.borrow().is_empty() || self.closed.get()) => {}
                e = connection.closed() => return Err((e, progress)),
            }
            let count = self.encode(receiver, connection.is_stream(), &mut batch);
            if count == 0 {
                return Ok(());
            }
            match timeout(WRITE_MAX, connection.write(&batch)).await {
                Ok(Ok(())) => progress = true,
                // One that no datagram takes is passed over: it would be refused for ever.
                Ok(Err(e)) if e.raw_os_error() == Some(libc::EMSGSIZE) => self.lost.set(self.lost.get() + 1),
                Ok(Err(e)) => return Err((e, progress)),
                Err(_) => return Err((io::ErrorKind::TimedOut.into(), progress)),
            }
            self.taken(count);
        }
    }

    /// Writes the first records (one for a datagram) as the receiver wants them, and answers how many.
    fn encode(&self, receiver: &LogReceiver, stream: bool, batch: &mut Vec<u8>) -> usize {
        batch.clear();
        let mut count = 0;
        for record in self.queue.borrow().iter() {
            if count > 0 && (!stream || batch.len() >= BATCH_BYTES) {
                break;
            }
            match receiver {
                LogReceiver::Syslog { facility, format, tag, hostname, .. } => {
                    syslog::write(batch, record, *facility, *format, tag, hostname);
                }
                LogReceiver::Journald { fields, .. } => journal_entry::write(batch, record, fields),
            }
            count += 1;
        }
        count
    }

    fn taken(&self, count: usize) {
        let mut queue = self.queue.borrow_mut();
        let bytes: usize = queue.drain(..count).map(|record| record.bytes()).sum();
        if queue.is_empty() {
            // An idle shim keeps no buffer.
            *queue = VecDeque::new();
        }
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
        self.changed.notify_waiters();
    }
}

async fn connect(receiver: &LogReceiver) -> io::Result<Connection> {
    match receiver {
        LogReceiver::Syslog { address, .. } => Connection::open(address).await,
        LogReceiver::Journald { socket, .. } => Connection::to_datagrams(socket),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use shim_api::options::{SyslogAddress, SyslogFormat};

    use super::*;

    fn receiver(address: SyslogAddress) -> LogReceiver {
        let format = SyslogFormat::Unix;
        LogReceiver::Syslog { address, facility: 3, format, tag: "t".into(), hostname: "h".into() }
    }

    fn record(text: &str) -> Record {
        Record { time_ns: 0, stream: Stream::Stdout, partial: false, text: text.as_bytes().to_vec() }
    }

    fn run(work: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, work);
    }

    #[test]
    fn a_receiver_that_is_not_there_costs_lines_and_no_waiting() {
        let folder = tempfile::tempdir().unwrap();
        run(async {
            let log = RemoteLog::start(receiver(SyslogAddress::Unixgram(folder.path().join("none"))), 1000, true);
            log.push(record("first"));
            timeout(Duration::from_secs(10), log.until(|| log.link.get() == Link::Down)).await.unwrap();
            for _ in 0..100 {
                log.push(record("more"));
                log.room().await;
            }
            assert!(log.lost.get() > 50);
            assert!(log.bytes.get() <= 1000);
        });
    }

    #[test]
    fn what_waited_is_sent_in_order_once_the_receiver_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("late");
        run(async {
            let log = RemoteLog::start(receiver(SyslogAddress::Unixgram(path.clone())), 10_000, true);
            log.push(record("one"));
            timeout(Duration::from_secs(10), log.until(|| log.link.get() == Link::Down)).await.unwrap();
            log.push(record("two"));
            let socket = UnixDatagram::bind(&path).unwrap();
            let sent = log.until(|| log.queue.borrow().is_empty());
            timeout(Duration::from_secs(10), sent).await.unwrap();
            for expected in ["]: one\n", "]: two\n"] {
                let mut bytes = [0; 200];
                let length = socket.recv(&mut bytes).unwrap();
                let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                assert!(text.ends_with(expected), "{text}");
            }
            log.finish().await;
        });
    }

    #[test]
    fn a_full_queue_that_does_not_block_loses_new_lines() {
        let folder = tempfile::tempdir().unwrap();
        run(async {
            let log = RemoteLog::start(receiver(SyslogAddress::Unixgram(folder.path().join("none"))), 200, false);
            for _ in 0..10 {
                log.push(record("x"));
                log.room().await;
            }
            assert_eq!(log.lost.get(), 7);
        });
    }
}
