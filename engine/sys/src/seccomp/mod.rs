//! seccomp: from a profile to a program that the kernel runs before every system call.
//!
//! Three steps, so that each can be kept: a [`Profile`] (docker's JSON format, with conditions on capabilities,
//! architecture and kernel) is resolved into a [`LinuxSeccomp`] (OCI runtime-spec, what a container's `config.json`
//! carries), which [`compile`] turns into a [`Program`]. Callers keep programs by [`LinuxSeccomp::cache_key`].

mod arch;
mod compile;
mod oci;
mod profile;
mod program;
mod tables;

pub use arch::Arch;
pub use compile::compile;
pub use oci::{Action, Arg, Flag, LinuxSeccomp, Operator, SyscallRule};
pub use profile::{ArchMapping, Conditions, Host, KernelVersion, Profile, ProfileRule, docker_default};
pub use program::{Instruction, Program};

use std::fmt;

/// Why a profile cannot become a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The field of OCI `linux.seccomp` or of the profile, such as `syscalls[3].args[0].index`.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Error {
    pub(crate) fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seccomp {}: {}", self.field, self.reason)
    }
}

impl std::error::Error for Error {}
