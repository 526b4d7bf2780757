//! `clone3` without exec: a copy of this process that goes on in Rust.
#![expect(unsafe_code, reason = "clone3 is not in rustix: it cannot be made safe for callers with several threads")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// New namespaces and relationships of the child (`linux/sched.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CloneFlags(u64);

impl CloneFlags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// `CLONE_NEWTIME`
    pub const NEW_TIME: Self = Self(0x80);
    /// `CLONE_PARENT`: the child's parent is this process's parent.
    pub const PARENT: Self = Self(0x8000);
    /// `CLONE_NEWNS`
    pub const NEW_MOUNT: Self = Self(0x2_0000);
    /// `CLONE_NEWCGROUP`
    pub const NEW_CGROUP: Self = Self(0x200_0000);
    /// `CLONE_NEWUTS`
    pub const NEW_UTS: Self = Self(0x400_0000);
    /// `CLONE_NEWIPC`
    pub const NEW_IPC: Self = Self(0x800_0000);
    /// `CLONE_NEWUSER`
    pub const NEW_USER: Self = Self(0x1000_0000);
    /// `CLONE_NEWPID`
    pub const NEW_PID: Self = Self(0x2000_0000);
    /// `CLONE_NEWNET`
    pub const NEW_NET: Self = Self(0x4000_0000);

    const PIDFD: u64 = 0x1000;
    const INTO_CGROUP: u64 = 0x2_0000_0000;

    /// Both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Without those in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` are in it.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The kernel's number.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

/// `struct clone_args` (clone3(2)).
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Which of the two processes this is.
#[derive(Debug)]
pub enum Cloned {
    /// The caller, with the child's process id (in the caller's PID namespace) and a pidfd (close-on-exec).
    Parent {
        /// Process id.
        pid: i32,
        /// The child's pidfd.
        pidfd: OwnedFd,
    },
    /// The child.
    Child,
}

/// Makes a child process with a copy of this process's memory and descriptors. With `cgroup` (a cgroup v2 folder)
/// the child is in it from its first instruction.
///
/// # Safety
/// The calling process must have one thread only: locks that another thread holds at this moment (malloc's, say)
/// would be held in the child for ever.
///
/// # Errors
/// Those of `clone3`.
pub unsafe fn clone3(flags: CloneFlags, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    let mut pidfd: i32 = -1;
    let mut args = CloneArgs {
        flags: flags.0 | CloneFlags::PIDFD,
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        exit_signal: if flags.contains(CloneFlags::PARENT) { 0 } else { u64::from(libc::SIGCHLD.unsigned_abs()) },
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CloneFlags::INTO_CGROUP;
        args.cgroup = u64::try_from(cgroup.as_raw_fd()).unwrap_or(u64::MAX);
    }
    // SAFETY: the kernel reads `args` of the size given and writes the pidfd to a live local. No CLONE_VM: the child
    // has its own copy of the stack, so returning in it is sound given the caller's single thread.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, std::ptr::from_mut(&mut args), size_of::<CloneArgs>()) };
    match i32::try_from(pid) {
        Ok(0) => Ok(Cloned::Child),
        Ok(pid) if pid > 0 => {
            // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid, pidfd })
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// A plain copy of this process, by `clone`: seccomp profiles answer `clone3` with `ENOSYS`, since they cannot look into
/// its arguments.
///
/// # Errors
/// Those of `clone`.
///
/// # Safety
/// This process has one thread.
pub unsafe fn fork() -> io::Result<Cloned> {
    const CLONE_PIDFD: i64 = 0x1000;
    let mut pidfd: i32 = -1;
    let flags = CLONE_PIDFD | i64::from(libc::SIGCHLD);
    // SAFETY: the kernel writes the pidfd, where it would write the parent's TID, to a live local. No CLONE_VM: the child
    // has its own copy of the stack, so that none is given.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) };
    match i32::try_from(pid) {
        Ok(0) => Ok(Cloned::Child),
        Ok(pid) if pid > 0 => {
            // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid, pidfd })
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// Ends this process at once: no destructors, no exit handlers. For a clone that must not run its parent's.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no precondition and does not return.
    unsafe { libc::_exit(code) }
}

/// Replaces the program. Returns only on failure, with the error.
///
/// `argv` and `envp` are C strings; both arrays are built here.
#[must_use]
pub fn execve(path: &std::ffi::CStr, argv: &[std::ffi::CString], envp: &[std::ffi::CString]) -> io::Error {
    let pointers = |strings: &[std::ffi::CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|s| s.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
    };
    let (argv, envp) = (pointers(argv), pointers(envp));
    // SAFETY: all pointers are to NUL-terminated strings that outlive the call; both arrays end with a null pointer.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

/// Closes (or, with `cloexec`, marks close-on-exec) every descriptor from `first` to `last`, both included.
///
/// # Safety
/// Closing: nobody in this process may go on using an owner of one of these descriptors.
///
/// # Errors
/// Those of `close_range`.
pub unsafe fn close_range(first: u32, last: u32, cloexec: bool) -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    let flags = if cloexec { CLOSE_RANGE_CLOEXEC } else { 0 };
    // SAFETY: plain integers; that descriptors are not used afterwards is the caller's promise.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Puts every signal back to its default action and unblocks all, as a program expects to find them.
///
/// # Errors
/// Those of `sigprocmask`.
pub fn reset_signals() -> io::Result<()> {
    // SAFETY: an all-zero sigset_t is a valid value, which sigemptyset then sets properly.
    let mut none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `none` is a live local.
    unsafe { libc::sigemptyset(&raw mut none) };
    for signal in 1..=31 {
        // SAFETY: SIG_DFL runs no code of ours; SIGKILL and SIGSTOP fail harmlessly.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: `none` is initialised, the old mask is not asked for.
    match unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
