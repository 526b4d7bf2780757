//! Processes killed because a cgroup was out of memory.
use super::{Error, Result};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
/// A descriptor to poll, and how to read what it has to say.
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
}
/// What [`OomWatch::read`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OomReading {
    /// Processes killed since the watch began or was last read.
    pub new_kills: u64,
    /// The cgroup is gone; nothing more will come.
    pub removed: bool,
}
impl OomWatch {
    pub(super) fn v1(_: &Path) -> Result<Self> {
        Err(Error::unsupported("oom", "not built yet"))
    }
    pub(super) fn v2(_: &Path) -> Result<Self> {
        Err(Error::unsupported("oom", "not built yet"))
    }
    /// Reads without blocking what has happened; call it when the descriptor is readable.
    pub fn read(&mut self) -> io::Result<OomReading> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
