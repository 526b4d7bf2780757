//! Learning that the kernel killed a process because its cgroup was out of memory.
//!
//! v1 signals an eventfd for each time the limit could not be met, v2 changes `memory.events`, which inotify tells.
//! Neither says what was killed, so both are only the occasion to read the kernel's count of kills.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::event::EventfdFlags;
use rustix::fs::{Mode, OFlags, inotify};

use super::{Error, Result, control_file};

/// How long after v1's signal its count may come.
const COUNT_LAG_MS_MAX: u32 = 10;

/// A descriptor to poll for reading, and how to read what it has to say.
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
    directory: PathBuf,
    /// The file with a line `oom_kill <count>`.
    file: &'static str,
    kills_seen: u64,
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
    pub(super) fn v1(directory: &Path) -> Result<Self> {
        let path = directory.join("memory.oom_control");
        let failed = |action: &'static str, errno: rustix::io::Errno| Error::io(action, &path, errno.into());
        let control = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| failed("open", errno))?;
        let fd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| failed("make an eventfd for", errno))?;
        let request = format!("{} {}", fd.as_raw_fd(), control.as_raw_fd());
        control_file::write(directory, "cgroup.event_control", &request, "memory")?;
        Self::begin(fd, directory, "memory.oom_control")
    }

    pub(super) fn v2(directory: &Path) -> Result<Self> {
        let path = directory.join("memory.events");
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let fd = inotify::init(flags).map_err(|errno| Error::io("make an inotify for", &path, errno.into()))?;
        inotify::add_watch(&fd, &path, inotify::WatchFlags::MODIFY | inotify::WatchFlags::DELETE_SELF).map_err(
            |errno| match errno {
                rustix::io::Errno::NOENT => Error::unsupported("memory", "this cgroup has no memory controller"),
                errno => Error::io("watch", &path, errno.into()),
            },
        )?;
        Self::begin(fd, directory, "memory.events")
    }

    /// The count is read after the watch is on, so that no kill falls between.
    fn begin(fd: OwnedFd, directory: &Path, file: &'static str) -> Result<Self> {
        let kills_seen = control_file::read_map(directory, file)?.get("oom_kill").copied().unwrap_or(0);
        Ok(Self { fd, directory: directory.to_owned(), file, kills_seen })
    }

    /// Reads what has happened; to be called when the descriptor is readable, and once more when the last process
    /// has ended. Does not wait, but for a few milliseconds on v1, where the kernel signals just before it kills.
    pub fn read(&mut self) -> io::Result<OomReading> {
        let signalled = self.drain()?;
        let mut patience = if signalled { COUNT_LAG_MS_MAX } else { 0 };
        loop {
            let counts = control_file::read_map(&self.directory, self.file)?;
            let Some(kills) = counts.get("oom_kill").copied() else {
                return Ok(OomReading { new_kills: 0, removed: !self.directory.is_dir() });
            };
            let new_kills = kills.saturating_sub(self.kills_seen);
            if new_kills > 0 || patience == 0 || counts.get("oom_kill_disable") != Some(&0) {
                self.kills_seen = kills;
                return Ok(OomReading { new_kills, removed: false });
            }
            patience -= 1;
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Empties the descriptor; answers whether there was anything.
    fn drain(&self) -> io::Result<bool> {
        let mut buffer = [0u8; 4096];
        let mut any = false;
        loop {
            match rustix::io::read(&self.fd, &mut buffer) {
                Ok(0) | Err(rustix::io::Errno::AGAIN) => return Ok(any),
                Ok(_) => any = true,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
