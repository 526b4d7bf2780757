//! Network namespaces by descriptor: made and entered on private threads that then end.
#![expect(unsafe_code, reason = "unshare(2) is unsafe in rustix because of CLONE_FILES, which is not used here")]

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use super::link::set_link_up;
use super::socket::{Protocol, Socket};

/// Where the calling thread's own network namespace is.
const OWN_NETNS: &str = "/proc/thread-self/ns/net";
/// Stack of the private threads: they run a few system calls.
const STACK_BYTES: usize = 256 * 1024;

/// Makes a network namespace with `lo` up and IPv6 off on interfaces to come. It lives as long as the descriptor, or
/// a process in it.
///
/// # Errors
/// `ENOSPC` when the user's limit of namespaces is reached; `EPERM` without the privilege.
pub fn create() -> io::Result<OwnedFd> {
    on_private_thread(|| {
        // SAFETY: NEWNET alone shares nothing of memory or descriptors, and the thread ends right after.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
        let mut socket = Socket::open(Protocol::Route, 0)?;
        set_link_up(&mut socket, 1)?;
        // A kernel without IPv6 has no such file. `lo` is there already and keeps ::1.
        match std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1") {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        open_own()
    })
}

/// The network namespace of the calling thread.
///
/// # Errors
/// When /proc is not mounted.
pub fn current() -> io::Result<OwnedFd> {
    open_own()
}

/// Runs `f` on a thread of its own inside the network namespace `netns`.
///
/// # Errors
/// When the namespace cannot be entered, or what `f` returns.
pub fn within<T: Send>(netns: BorrowedFd<'_>, f: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    on_private_thread(|| {
        rustix::thread::move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))?;
        f()
    })
}

fn open_own() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(OWN_NETNS, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// A thread that changes its namespaces must not live on: nobody else may be handed it.
fn on_private_thread<T: Send>(f: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".into()).stack_size(STACK_BYTES).spawn_scoped(scope, f)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread in the network namespace panicked")))
    })
}
