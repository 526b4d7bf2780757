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

/// Makes a FIFO that only its owner may open, in place of whatever file is there.
///
/// # Errors
/// Those of `unlink` and `mknod`, with the path.
pub fn make(path: &Path) -> io::Result<()> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(named(e)),
        _ => {}
    }
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, mode, 0).map_err(|e| named(e.into()))
}

/// Makes a FIFO and opens both of its ends: the reading one does not wait, the writing one waits as a pipe's does.
///
/// # Errors
/// Those of [`make`] and `open`.
pub fn pair(path: &Path) -> io::Result<(OwnedFd, OwnedFd)> {
    make(path)?;
    let read = open_read(path)?;
    let write = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())?;
    Ok((read, write))
}

fn open(path: &Path, access: OFlags) -> io::Result<OwnedFd> {
    let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let fd = rustix::fs::open(path, flags, Mode::empty())?;
    match FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) {
        FileType::Fifo => Ok(fd),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{}: not a FIFO", path.display()))),
    }
}
