//! From rules to instructions.

use super::{Error, LinuxSeccomp, Program};

/// Compiles a profile.
pub fn compile(profile: &LinuxSeccomp) -> Result<Program, Error> {
    let _ = profile;
    Err(Error::new("syscalls", "compiling is not built yet"))
}
