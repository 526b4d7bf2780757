//! One more process in a running container: one clone, one `setns`, one exec.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use sys::clone::exit_now;
use sys::namespace::NamespaceKind;
use sys::rooted::RootFd;

use super::channel::ChildEnd;
use super::handshake::{FromChild, ToChild};
use super::init::send_terminal;
use super::process::ProcessPlan;
use super::{devices, raw};
use crate::runtime::{Failure, Result};

/// What the child needs.
#[derive(Debug)]
pub(super) struct ExecPlan<'a> {
    /// The container's first process.
    pub(super) container: BorrowedFd<'a>,
    /// Its namespaces, but for the PID namespace, which the shim has chosen for the clone.
    pub(super) kinds: Vec<NamespaceKind>,
    pub(super) process: ProcessPlan,
    pub(super) terminal_size: Option<(u16, u16)>,
    /// On cgroup v1 the shim moves the clone; it waits for that.
    pub(super) wait: bool,
}

impl ExecPlan<'_> {
    /// Descriptors that the child needs; all others are closed first thing.
    pub(super) fn descriptors(&self) -> Vec<i32> {
        std::iter::once(self.container.as_raw_fd()).chain(self.process.descriptors()).collect()
    }
}

/// The clone: ends in the user's program or in a message why not.
pub(super) fn run(plan: ExecPlan<'_>, channel: ChildEnd) -> ! {
    let failure = match prepare(plan, &channel) {
        Ok(failure) | Err(failure) => failure,
    };
    channel.fail(&failure);
    exit_now(1)
}

fn prepare(plan: ExecPlan<'_>, channel: &ChildEnd) -> Result<Failure> {
    let about = |e: io::Error| Failure::io("namespace", "of the container", &e);
    // Until exec this is a copy of the shim, that no process of the container may look into.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    rustix::process::setsid().map_err(|e| about(e.into()))?;
    if plan.wait {
        channel.expect(ToChild::Go)?;
    }
    sys::namespace::enter_process(plan.container, &plan.kinds).map_err(about)?;
    if plan.kinds.contains(&NamespaceKind::User) {
        raw::set_identity(0, 0, &[]).map_err(about)?;
    }
    let root = RootFd::open(Path::new("/")).map_err(about)?;
    let terminal = if plan.process.wants_terminal() {
        let pty = devices::terminal(&root)?;
        send_terminal(&pty, plan.terminal_size, channel)?;
        Some(pty.slave)
    } else {
        None
    };
    let prepared = plan.process.apply(&root, terminal)?;
    channel.send(&FromChild::Ready);
    raw::close_all_on_exec().map_err(|e| Failure::io("close descriptors", "", &e))?;
    sys::clone::reset_signals().map_err(|e| Failure::io("signals", "", &e))?;
    // Exec's answer is the end of this socket.
    let _ = channel.as_fd();
    Ok(prepared.exec())
}
