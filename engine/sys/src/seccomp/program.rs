//! A compiled filter, and putting it in force.
#![expect(unsafe_code, reason = "seccomp(2) has no safe wrapper")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// One instruction of classic BPF, laid out as the kernel's `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip if a comparison holds.
    pub jump_true: u8,
    /// Instructions to skip if not.
    pub jump_false: u8,
    /// Operand.
    pub operand: u32,
}

/// A filter ready to load. Cheap to keep; loading it makes system calls only and allocates nothing, so it can be
/// done between clone3 and exec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub(super) instructions: Vec<Instruction>,
    pub(super) flags: u32,
}

/// `struct sock_fprog`.
#[repr(C)]
struct FilterProgram {
    length: libc::c_ushort,
    filter: *const Instruction,
}

const SET_MODE_FILTER: libc::c_uint = 1;
pub(super) const FLAG_TSYNC: u32 = 1;
pub(super) const FLAG_LOG: u32 = 1 << 1;
pub(super) const FLAG_SPEC_ALLOW: u32 = 1 << 2;
pub(super) const FLAG_NEW_LISTENER: u32 = 1 << 3;
pub(super) const FLAG_TSYNC_ESRCH: u32 = 1 << 4;
pub(super) const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

impl Program {
    /// The instructions.
    #[must_use]
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// Whether [`Program::load`] answers a listener, for which the caller has to have a taker.
    #[must_use]
    pub fn has_listener(&self) -> bool {
        self.flags & FLAG_NEW_LISTENER != 0
    }

    /// Puts the filter on the calling thread for good, and on all that it starts. Answers the listener's descriptor
    /// if the program notifies.
    ///
    /// # Errors
    /// EACCES without `CAP_SYS_ADMIN` in this user namespace and without no_new_privs; EINVAL for a flag that the
    /// kernel does not know.
    pub fn load(&self) -> io::Result<Option<OwnedFd>> {
        let length =
            libc::c_ushort::try_from(self.instructions.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
        let program = FilterProgram { length, filter: self.instructions.as_ptr() };
        // SAFETY: `program` and the instructions it points to outlive the call, and the kernel only reads them.
        let rc = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, self.flags, &raw const program) };
        if rc < 0 {
            return Err(io::Error::last_os_error());
        }
        if !self.has_listener() {
            return Ok(None);
        }
        let fd = RawFd::try_from(rc).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
        // SAFETY: with FLAG_NEW_LISTENER a result that is not negative is a new descriptor that nobody else owns.
        Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
    }
}
