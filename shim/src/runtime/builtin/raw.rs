//! System calls that neither rustix nor `sys` has in a safe form, for the child between clone3 and exec.
#![expect(unsafe_code, reason = "the child between clone3 and exec: one thread, no library state to protect")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Puts a copy of `fd` at `number`, without close-on-exec.
pub(crate) fn dup_onto(fd: BorrowedFd<'_>, number: i32) -> io::Result<()> {
    if fd.as_raw_fd() == number {
        return Ok(rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?);
    }
    // SAFETY: plain integers. What was at `number` belonged to the process that this one is a copy of.
    if unsafe { libc::dup2(fd.as_raw_fd(), number) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Joins a new session keyring of this name. Kernels and filters without keyrings are fine.
pub(super) fn join_session_keyring(name: &CStr) {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: the name is a live C string.
    let _ = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
}

/// Becomes another user for good: groups, then group, then user. By system call, so that one thread is enough.
pub(super) fn set_identity(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: the kernel reads `groups` of the length given.
    let set = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    // A user namespace may have setgroups denied; that is fine when no group is asked for.
    if set != 0 && !groups.is_empty() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: plain integers.
    if unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: plain integers.
    if unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Closes every descriptor above 2 that is not in `keep`. For a fresh clone: its parent's descriptors are not its own.
pub(super) fn close_all_but(keep: &mut Vec<i32>) -> io::Result<()> {
    keep.sort_unstable();
    keep.dedup();
    let mut first = 3_u32;
    for fd in keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).filter(|fd| *fd > 2) {
        if fd > first {
            // SAFETY: this process is a fresh clone; the owners of these descriptors live on in its parent only.
            unsafe { sys::clone::close_range(first, fd - 1, false) }?;
        }
        first = fd + 1;
    }
    // SAFETY: as above.
    unsafe { sys::clone::close_range(first, u32::MAX, false) }
}

/// Marks every descriptor above 2 close-on-exec.
pub(super) fn close_all_on_exec() -> io::Result<()> {
    // SAFETY: nothing is closed now, and after exec nobody is left to use them.
    unsafe { sys::clone::close_range(3, u32::MAX, true) }
}

/// Switches the loopback interface of a new network namespace on.
pub(super) fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: ifreq is plain data, for which zero is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *slot = libc::c_char::try_from(*byte).unwrap_or(0);
    }
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or(0);
    // SAFETY: the request is a live, initialised ifreq, as SIOCSIFFLAGS wants.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets host and domain name of this UTS namespace.
pub(super) fn set_names(hostname: &str, domainname: &str) -> io::Result<()> {
    if !hostname.is_empty() {
        rustix::system::sethostname(hostname.as_bytes())?;
    }
    if !domainname.is_empty() {
        rustix::system::setdomainname(domainname.as_bytes())?;
    }
    Ok(())
}

/// Registers a descriptor with the event loop.
pub(crate) fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is the same open descriptor until it is dropped, which is after it is deregistered.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(Into::into)
}

/// Does `work` in a clone of this process, which ends with it. The reaper collects it.
pub(crate) fn in_clone(work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    // SAFETY: the shim has one thread, for ever (main.rs says how that is kept).
    match unsafe { sys::clone::clone3(sys::clone::CloneFlags::NONE, None) }? {
        sys::clone::Cloned::Parent { .. } => Ok(()),
        sys::clone::Cloned::Child => {
            let done = close_all_but(&mut Vec::new()).and_then(|()| work());
            sys::clone::exit_now(i32::from(done.is_err()))
        }
    }
}

/// Takes over a descriptor that the process was started with; `None` when there is none of this number.
///
/// To be called once for each number, before anything else opens descriptors.
pub(crate) fn inherited(number: i32) -> Option<OwnedFd> {
    // SAFETY: only asks whether the descriptor is open.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: it is open, and by the caller's promise nobody in this process has it.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    let _ = rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC);
    Some(fd)
}

/// Makes the process deaf to signals that are meant for somebody else: a shim outlives terminals and daemons.
pub(crate) fn ignore_signals() {
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGPIPE] {
        // SAFETY: SIG_IGN runs no code; programs that are started get the default back (`reset_signals`).
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Does `work` with this user and group for file accesses, and all capabilities as they are.
pub(super) fn with_fs_identity<T>(uid: u32, gid: u32, work: impl FnOnce() -> T) -> io::Result<T> {
    use rustix::thread::{CapabilitiesSecureBits, capabilities_secure_bits, set_capabilities_secure_bits};
    let bits = capabilities_secure_bits()?;
    set_capabilities_secure_bits(bits | CapabilitiesSecureBits::NO_SETUID_FIXUP)?;
    let set = |uid: u32, gid: u32| {
        // SAFETY: plain integers; both calls answer the old id and cannot fail otherwise.
        unsafe { libc::syscall(libc::SYS_setfsgid, gid) };
        // SAFETY: as above.
        unsafe { libc::syscall(libc::SYS_setfsuid, uid) };
    };
    set(uid, gid);
    let result = work();
    set(rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    set_capabilities_secure_bits(bits)?;
    Ok(result)
}
