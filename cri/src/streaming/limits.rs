//! Limits of the streaming server.

use std::time::Duration;

/// Connections at once, those included that have not asked for anything yet.
pub(super) const CONNECTIONS_MAX: usize = 1024;
/// For a client to send the head of its request.
pub(super) const HEAD_MAX: Duration = Duration::from_secs(30);
/// Longest head of a request.
pub(super) const HEAD_BYTES_MAX: usize = 32 << 10;
/// For a client to open the streams of its session, or the second of a pair.
pub(super) const CREATION_MAX: Duration = Duration::from_secs(30);
/// A session in which nothing is read or written for this long ends, as with other runtimes.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(4 * 3600);
/// After this long without output a ping is sent. A client that has gone is noticed by it, also while nothing can be read
/// because its input has no room; the answer does not count as activity.
pub(super) const PING_AFTER: Duration = Duration::from_secs(30);
/// For a client to take the last output of its session.
pub(super) const CLOSE_MAX: Duration = Duration::from_secs(30);
/// For a client to close after everything was sent to it.
pub(super) const LINGER_MAX: Duration = Duration::from_secs(5);
/// Connections forwarded at once in one session.
pub(super) const FORWARDS_MAX: usize = 256;
/// Output that may still come after the end of an exec whose children hold its streams.
pub(super) const DRAIN_MAX: Duration = Duration::from_secs(3);
/// For the input of an exec to be closed whose client has gone.
pub(super) const LEAVE_MAX: Duration = Duration::from_secs(1);
/// For the first size of a terminal, so that its process starts with it.
pub(super) const FIRST_SIZE_MAX: Duration = Duration::from_millis(100);
