//! Processes by descriptor: a number may be somebody else's by now, a pidfd never is.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

/// One process, held by descriptor. The descriptor becomes readable when the process ends.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// Opens the process that has this id now.
    ///
    /// # Errors
    /// `ESRCH` when there is none.
    pub fn open(pid: i32) -> io::Result<Self> {
        let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self(rustix::process::pidfd_open(pid, PidfdFlags::empty())?))
    }

    /// Takes a descriptor that `clone3` made.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Sends a signal, 1 to 64.
    ///
    /// # Errors
    /// `ESRCH` when it has ended, `EINVAL` for a number that is no signal.
    pub fn send_signal(&self, signal: i32) -> io::Result<()> {
        let signal = signal_from_number(signal).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(rustix::process::pidfd_send_signal(&self.0, signal)?)
    }

    /// Whether it has ended (it need not be ours).
    ///
    /// # Errors
    /// Those of `poll`.
    pub fn has_ended(&self) -> io::Result<bool> {
        let mut fds = [rustix::event::PollFd::new(&self.0, rustix::event::PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        Ok(rustix::event::poll(&mut fds, Some(&now))? > 0)
    }

    /// Waits for its end, for `timeout` at most; `false` when it is still there then.
    ///
    /// # Errors
    /// Those of `poll`.
    pub fn wait_end(&self, timeout: std::time::Duration) -> io::Result<bool> {
        let mut fds = [rustix::event::PollFd::new(&self.0, rustix::event::PollFlags::IN)];
        let timeout = rustix::event::Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        Ok(rustix::event::poll(&mut fds, Some(&timeout))? > 0)
    }

    /// Collects the exit code (or 128 + signal) of a child of ours, waiting for its end.
    ///
    /// # Errors
    /// `ECHILD` when it is not our child, or collected already.
    pub fn reap(&self) -> io::Result<u32> {
        loop {
            match rustix::process::waitid(WaitId::PidFd(self.0.as_fd()), WaitIdOptions::EXITED) {
                Ok(Some(status)) => return Ok(exit_code(status.exit_status(), status.terminating_signal())),
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A shell's number for how a process ended: its code, or 128 + the signal that killed it.
fn exit_code(code: Option<i32>, signal: Option<i32>) -> u32 {
    match (code, signal) {
        (Some(code), _) => code.unsigned_abs() & 0xff,
        (None, Some(signal)) => 128 + signal.unsigned_abs(),
        (None, None) => 255,
    }
}

/// Collects one ended child, whichever: its process id and exit code. `None` when none has ended.
///
/// # Errors
/// Those of `waitpid` except that there are no children.
pub fn reap_any() -> io::Result<Option<(i32, u32)>> {
    loop {
        match rustix::process::wait(rustix::process::WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                let code = exit_code(status.exit_status(), status.terminating_signal());
                return Ok(Some((pid.as_raw_nonzero().get(), code)));
            }
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(None),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// The signal of this number: 1 to 31, and the real-time signals to 64.
#[must_use]
pub fn signal_from_number(number: i32) -> Option<Signal> {
    if let Some(signal) = Signal::from_named_raw(number) {
        return Some(signal);
    }
    real_time_signal(number)
}

#[expect(unsafe_code, reason = "rustix has no safe constructor for real-time signals")]
fn real_time_signal(number: i32) -> Option<Signal> {
    if !(32..=64).contains(&number) {
        return None;
    }
    // SAFETY: the number is only handed to the kernel; libc's own two signals may be sent to another program.
    Some(unsafe { Signal::from_raw_unchecked(number) })
}
