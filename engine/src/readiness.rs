//! Waiting until a descriptor can be read (a pidfd, an inotify queue).

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers `fd` for reading.
#[expect(
    deprecated,
    reason = "the successor is unsafe only for types whose descriptor can change; an OwnedFd's cannot"
)]
pub(crate) fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}
