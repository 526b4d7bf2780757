//! Pseudo terminals.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

/// Both ends of a new pseudo terminal, close-on-exec.
#[derive(Debug)]
pub struct Pty {
    /// What the shim reads and writes.
    pub master: OwnedFd,
    /// What the process has as its terminal.
    pub slave: OwnedFd,
}

/// Opens a pseudo terminal of the `devpts` that is mounted at `/dev/pts` of this process.
///
/// # Errors
/// Those of `open`.
pub fn open() -> io::Result<Pty> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags)?;
    pair(master)
}

/// Opens a pseudo terminal through an already opened `ptmx` folder: `name` in `dir`.
///
/// # Errors
/// Those of `open`; `ENOTTY` when what is there is no terminal multiplexer.
pub fn open_at(dir: impl AsFd, name: &str) -> io::Result<Pty> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    pair(rustix::fs::openat(dir, name, flags, Mode::empty())?)
}

fn pair(master: OwnedFd) -> io::Result<Pty> {
    rustix::pty::unlockpt(&master)?;
    // By ioctl, not by name: the name could be of another mount by now (CVE-2025-52565).
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    Ok(Pty { master, slave })
}

/// Sets the size, in characters.
///
/// # Errors
/// Those of the ioctl.
pub fn set_size(terminal: impl AsFd, width: u16, height: u16) -> io::Result<()> {
    let size = Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(terminal, size)?)
}

/// Makes `terminal` the controlling terminal of the calling process, which must lead a session.
///
/// # Errors
/// Those of the ioctl.
pub fn set_controlling(terminal: impl AsFd) -> io::Result<()> {
    Ok(rustix::process::ioctl_tiocsctty(terminal)?)
}
