//! Named pipes, as containerd hands them to shims.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};

/// Opens a FIFO for writing without waiting for a reader, and without an error when there is none yet: the
/// descriptor is read-write, so that the pipe lives as long as it is held.
///
/// # Errors
/// `InvalidInput` when it is no FIFO; those of `open`.
pub fn open_write(path: &Path) -> io::Result<OwnedFd> {
    open(path, OFlags::RDWR)
}

/// Opens a FIFO for reading without waiting for a writer. End of file comes when the last writer goes.
///
/// # Errors
/// `InvalidInput` when it is no FIFO; those of `open`.
pub fn open_read(path: &Path) -> io::Result<OwnedFd> {
    open(path, OFlags::RDONLY)
}

fn open(path: &Path, access: OFlags) -> io::Result<OwnedFd> {
    let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let fd = rustix::fs::open(path, flags, Mode::empty())?;
    match FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) {
        FileType::Fifo => Ok(fd),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{}: not a FIFO", path.display()))),
    }
}
