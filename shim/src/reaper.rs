//! The one place that collects ended children: those of the shim itself and, as it is a subreaper, orphans of
//! containers and runtimes.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::rc::Rc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Ended processes that nobody asked about yet: a container of a runtime program may end before its pid is known.
const UNCLAIMED_MAX: usize = 64;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    /// Exit code, or 128 + signal.
    pub(crate) status: u32,
    /// Nanoseconds since 1970.
    pub(crate) at_ns: i64,
}

/// Collects children and tells whoever watches them.
#[derive(Debug, Default)]
pub(crate) struct Reaper {
    watched: RefCell<HashMap<i32, oneshot::Sender<Exit>>>,
    unclaimed: RefCell<VecDeque<(i32, Exit)>>,
}

impl Reaper {
    /// Tells the end of child `pid`. To be called before the shim yields to its event loop after making the child, or
    /// for a child that came by another way (an orphan).
    pub(crate) fn watch(&self, pid: i32) -> oneshot::Receiver<Exit> {
        let (sender, receiver) = oneshot::channel();
        let mut unclaimed = self.unclaimed.borrow_mut();
        if let Some(at) = unclaimed.iter().position(|(ended, _)| *ended == pid) {
            if let Some((_, exit)) = unclaimed.remove(at) {
                let _ = sender.send(exit);
            }
        } else {
            self.watched.borrow_mut().insert(pid, sender);
        }
        receiver
    }

    /// Forgets ended processes that nobody claimed: their numbers may belong to new ones from now on.
    pub(crate) fn forget_unclaimed(&self) {
        self.unclaimed.borrow_mut().clear();
    }

    /// Collects for ever.
    ///
    /// # Errors
    /// When SIGCHLD cannot be received.
    pub(crate) async fn run(self: Rc<Self>) -> io::Result<()> {
        let mut signals = signal(SignalKind::child())?;
        loop {
            self.collect();
            if signals.recv().await.is_none() {
                return Ok(());
            }
        }
    }

    fn collect(&self) {
        while let Ok(Some((pid, status))) = sys::pidfd::reap_any() {
            let exit = Exit { status, at_ns: shim_api::time::now_unix_ns() };
            if let Some(watcher) = self.watched.borrow_mut().remove(&pid) {
                let _ = watcher.send(exit);
                continue;
            }
            let mut unclaimed = self.unclaimed.borrow_mut();
            if unclaimed.len() == UNCLAIMED_MAX {
                unclaimed.pop_front();
            }
            unclaimed.push_back((pid, exit));
        }
    }
}
