//! Namespaces: open, compare, enter.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType, UnshareFlags};

use crate::clone::CloneFlags;

/// What a namespace isolates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NamespaceKind {
    /// Users and groups.
    User,
    /// Mounts.
    Mount,
    /// Process ids.
    Pid,
    /// Network.
    Network,
    /// System V IPC and message queues.
    Ipc,
    /// Host name.
    Uts,
    /// View of the cgroup tree.
    Cgroup,
    /// Monotonic and boot clocks.
    Time,
}

impl NamespaceKind {
    /// The name under `/proc/<pid>/ns/`.
    #[must_use]
    pub const fn proc_name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Mount => "mnt",
            Self::Pid => "pid",
            Self::Network => "net",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }

    /// The flag that makes a new one.
    #[must_use]
    pub const fn clone_flag(self) -> CloneFlags {
        match self {
            Self::User => CloneFlags::NEW_USER,
            Self::Mount => CloneFlags::NEW_MOUNT,
            Self::Pid => CloneFlags::NEW_PID,
            Self::Network => CloneFlags::NEW_NET,
            Self::Ipc => CloneFlags::NEW_IPC,
            Self::Uts => CloneFlags::NEW_UTS,
            Self::Cgroup => CloneFlags::NEW_CGROUP,
            Self::Time => CloneFlags::NEW_TIME,
        }
    }

    const fn link_type(self) -> Option<LinkNameSpaceType> {
        Some(match self {
            Self::User => LinkNameSpaceType::User,
            Self::Mount => LinkNameSpaceType::Mount,
            Self::Pid => LinkNameSpaceType::ProcessID,
            Self::Network => LinkNameSpaceType::Network,
            Self::Ipc => LinkNameSpaceType::InterProcessCommunication,
            Self::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
            Self::Cgroup => LinkNameSpaceType::ControlGroup,
            Self::Time => LinkNameSpaceType::Time,
        })
    }
}

/// Opens the namespace file at `path` (`/proc/<pid>/ns/net`, `/run/netns/x`).
///
/// # Errors
/// Those of `open`.
pub fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK, Mode::empty())?)
}

/// Opens a namespace of process `pid`, as this process's `/proc` numbers it.
///
/// # Errors
/// Those of `open`; `ENOENT` when the process is gone.
pub fn of_process(pid: i32, kind: NamespaceKind) -> io::Result<OwnedFd> {
    open(Path::new(&format!("/proc/{pid}/ns/{}", kind.proc_name())))
}

/// Opens a namespace of this process.
///
/// # Errors
/// Those of `open`.
pub fn own(kind: NamespaceKind) -> io::Result<OwnedFd> {
    open(Path::new(&format!("/proc/self/ns/{}", kind.proc_name())))
}

/// Whether both descriptors are of one namespace.
///
/// # Errors
/// Those of `fstat`.
pub fn same(a: BorrowedFd<'_>, b: BorrowedFd<'_>) -> io::Result<bool> {
    let (a, b) = (rustix::fs::fstat(a)?, rustix::fs::fstat(b)?);
    Ok((a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
}

/// Moves the calling thread into a namespace; for PID and time, the children it makes from now on.
///
/// # Errors
/// Those of `setns`; `EINVAL` when the descriptor is no namespace of this kind.
pub fn enter(fd: BorrowedFd<'_>, kind: NamespaceKind) -> io::Result<()> {
    Ok(rustix::thread::move_into_link_name_space(fd, kind.link_type())?)
}

/// Moves the calling thread into several namespaces of a process at once, all or none.
///
/// # Errors
/// Those of `setns` on a pidfd.
pub fn enter_process(pidfd: impl AsFd, kinds: &[NamespaceKind]) -> io::Result<()> {
    let bits = kinds.iter().fold(0, |bits, kind| bits | kind.clone_flag().bits());
    let flags = ThreadNameSpaceType::from_bits_retain(u32::try_from(bits).unwrap_or(0));
    Ok(rustix::thread::move_into_thread_name_spaces(pidfd.as_fd(), flags)?)
}

/// Gives the calling thread new namespaces.
///
/// # Errors
/// Those of `unshare`.
#[expect(unsafe_code, reason = "unshare is unsafe in rustix because of CLONE_FILES, which no CloneFlags value has")]
pub fn unshare(flags: CloneFlags) -> io::Result<()> {
    let flags = UnshareFlags::from_bits_retain(u32::try_from(flags.bits()).unwrap_or(0));
    // SAFETY: the flags make namespaces only; the descriptor table stays shared.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}
