//! User namespaces that exist only to carry a mapping of ids.

use std::fmt::Write as _;
use std::io;
use std::os::fd::OwnedFd;

use sys::clone::{CloneFlags, Cloned, clone3, exit_now};
use sys::namespace::NamespaceKind;
use sys::pidfd::PidFd;

use crate::oci::IdMapping;
use crate::runtime::{Failure, Result};

const STEP: &str = "user namespace";

/// Makes a user namespace with these mappings. It lives as long as the descriptor (and whatever uses it).
pub(crate) fn user_namespace(uids: &[IdMapping], gids: &[IdMapping]) -> Result<OwnedFd> {
    if uids.is_empty() || gids.is_empty() {
        return Err(Failure::new(STEP, "user namespace: both uid and gid mappings are required"));
    }
    make(uids, gids).map_err(|e| Failure::io(STEP, "with the given mappings", &e))
}

fn make(uids: &[IdMapping], gids: &[IdMapping]) -> io::Result<OwnedFd> {
    let (ours, theirs) = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: the shim has one thread (main.rs), and the child only waits and ends.
    #[expect(unsafe_code, reason = "clone3 in a process of one thread")]
    let cloned = unsafe { clone3(CloneFlags::NEW_USER, None) }?;
    let Cloned::Parent { pid, pidfd } = cloned else {
        drop(ours);
        let mut byte = [0_u8; 1];
        let _ = rustix::io::read(&theirs, &mut byte);
        exit_now(0);
    };
    drop(theirs);
    let pidfd = PidFd::from_fd(pidfd);
    let result = write_maps(pid, uids, gids).and_then(|()| sys::namespace::of_process(pid, NamespaceKind::User));
    drop(ours);
    // The reaper may have been faster.
    let _ = pidfd.reap();
    result
}

fn write_maps(pid: i32, uids: &[IdMapping], gids: &[IdMapping]) -> io::Result<()> {
    std::fs::write(format!("/proc/{pid}/uid_map"), table(uids))?;
    std::fs::write(format!("/proc/{pid}/gid_map"), table(gids))
}

/// The text of `/proc/<pid>/uid_map`.
fn table(mappings: &[IdMapping]) -> String {
    let mut text = String::new();
    for mapping in mappings {
        let _ = writeln!(text, "{} {} {}", mapping.container_id, mapping.host_id, mapping.size);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_kernels() {
        let mapping = IdMapping { container_id: 0, host_id: 100_000, size: 65_536 };
        assert_eq!(table(&[mapping]), "0 100000 65536\n");
    }
}
