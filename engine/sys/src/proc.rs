//! `/proc`, verified: what looks like procfs is procfs.

use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};

/// `PROC_SUPER_MAGIC` (linux/magic.h).
const PROC_SUPER_MAGIC: u64 = 0x9fa0;
/// Files below `/proc` that may be mount targets (lxcfs and the like), as runc allows them.
const MOUNT_TARGETS: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

/// An open procfs: a mount that nobody else sees, or a verified `/proc`.
#[derive(Debug)]
pub struct ProcFs {
    root: OwnedFd,
}

impl ProcFs {
    /// The host's `/proc`.
    ///
    /// # Errors
    /// `InvalidData` when `/proc` is no procfs; those of `open`.
    pub fn host() -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Self::from_fd(rustix::fs::open("/proc", flags, Mode::empty())?)
    }

    /// A procfs by descriptor of its root.
    ///
    /// # Errors
    /// `InvalidData` when it is no procfs.
    pub fn from_fd(root: OwnedFd) -> io::Result<Self> {
        if !is_procfs(&root)? {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a procfs"));
        }
        Ok(Self { root })
    }

    /// Writes a whole value to a file of it with one `write`. Nothing mounted over a part of it is followed.
    ///
    /// # Errors
    /// Those of `openat2` and `write`.
    pub fn write(&self, path: &Path, value: &[u8]) -> io::Result<()> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve)?;
        let mut file = std::fs::File::from(fd);
        let written = file.write(value)?;
        if written == value.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Writes sysctl `name` (with dots or slashes).
    ///
    /// # Errors
    /// `InvalidInput` for a name that leads elsewhere; those of [`ProcFs::write`].
    pub fn write_sysctl(&self, name: &str, value: &str) -> io::Result<()> {
        let path = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
        let bad = path.is_empty() || path.split('/').any(|part| part.is_empty() || part == "." || part == "..");
        if bad || path.bytes().any(|b| b == 0) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("sysctl {name:?}: not a name")));
        }
        self.write(&Path::new("sys").join(path), value.as_bytes())
    }
}

/// Whether a container may mount something over `path`, a clean path below its `/proc`.
#[must_use]
pub fn is_mount_target(path: &Path) -> bool {
    MOUNT_TARGETS.iter().any(|target| path == Path::new(target))
}

/// Whether a descriptor is on a procfs.
///
/// # Errors
/// Those of `fstatfs`.
pub fn is_procfs(fd: impl AsFd) -> io::Result<bool> {
    Ok(u64::try_from(rustix::fs::fstatfs(fd)?.f_type).is_ok_and(|magic| magic == PROC_SUPER_MAGIC))
}
