//! An init for a container: the first process stays a copy of the shim that reaps orphans and passes signals on,
//! while the user's program is its child (`docker run --init`, and sandboxes that share a PID namespace).
#![expect(unsafe_code, reason = "fork, signal masks and sigwaitinfo in a process of one thread")]

use std::io;

use sys::clone::{Cloned, exit_now, fork};
use sys::pidfd::{PidFd, reap_any};

use super::channel::ChildEnd;
use super::process::Prepared;
use crate::runtime::Failure;

/// Runs the program as a child of this process and becomes its init. Returns only in the child, when exec failed.
pub(super) fn exec_below(prepared: Prepared, channel: &ChildEnd) -> Failure {
    let about = |e: io::Error| Failure::io("init", "", &e);
    if let Err(e) = block_signals() {
        return about(e);
    }
    // The container's filter may be in force already.
    // SAFETY: this process has one thread.
    match unsafe { fork() } {
        Err(e) => about(e),
        Ok(Cloned::Child) => {
            let _ = rustix::process::setsid();
            match sys::clone::reset_signals() {
                Ok(()) => prepared.exec(),
                Err(e) => about(e),
            }
        }
        Ok(Cloned::Parent { pid, pidfd }) => {
            // The streams and the handshake belong to the program alone; its exec ends the handshake.
            let _ = channel;
            // SAFETY: nothing of this process uses a descriptor from here on except `pidfd`, which is kept.
            let _ = unsafe { close_all_except(&pidfd) };
            reap_and_forward(Some((pid, PidFd::from_fd(pidfd))))
        }
    }
}

/// Serves as the init of a PID namespace that has no program of its own. Ends at SIGTERM or SIGKILL.
pub(crate) fn serve_namespace() -> ! {
    let _ = block_signals();
    reap_and_forward(None)
}

unsafe fn close_all_except(keep: &std::os::fd::OwnedFd) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let keep = u32::try_from(keep.as_raw_fd()).unwrap_or(0);
    if keep > 0 {
        // SAFETY: the caller promises that none of these is used again.
        unsafe { sys::clone::close_range(0, keep - 1, false) }?;
    }
    // SAFETY: as above.
    unsafe { sys::clone::close_range(keep + 1, u32::MAX, false) }
}

fn all_signals() -> libc::sigset_t {
    // SAFETY: an all-zero sigset_t is valid, sigfillset then fills it.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a live local.
    unsafe { libc::sigfillset(&raw mut set) };
    set
}

fn block_signals() -> io::Result<()> {
    let all = all_signals();
    // SAFETY: `all` is initialised; the old mask is not asked for.
    match unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Waits for signals: children are reaped, everything else goes to the program, whose end is this process's end.
fn reap_and_forward(program: Option<(i32, PidFd)>) -> ! {
    let all = all_signals();
    loop {
        // SAFETY: `all` is initialised; no information beyond the number is asked for.
        let signal = unsafe { libc::sigwaitinfo(&raw const all, std::ptr::null_mut()) };
        match (signal, &program) {
            (libc::SIGCHLD, _) => {
                while let Ok(Some((pid, status))) = reap_any() {
                    if program.as_ref().is_some_and(|(main, _)| *main == pid) {
                        exit_now(i32::try_from(status).unwrap_or(255));
                    }
                }
            }
            (libc::SIGTERM | libc::SIGINT, None) => exit_now(0),
            (signal, Some((_, pidfd))) if signal > 0 => {
                let _ = pidfd.send_signal(signal);
            }
            _ => {}
        }
    }
}
