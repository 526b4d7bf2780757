//! A container that the shim supervises: its first process, its execs, its cgroup's events.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use shim_api::bundle::ContainerBundle;
use shim_api::options::ExitRecord;
use sys::cgroup::OomWatch;
use tokio::io::Interest;

use crate::events::{Event, Events};
use crate::process::Process;
use crate::reaper::Exit;
use crate::runtime::{ExecRequest, Runtime};

/// Execs at once in one container.
pub(crate) const EXECS_MAX: usize = 1024;

/// An exec that was added and not started.
pub(crate) type PendingExec = RefCell<Option<ExecRequest>>;

/// Execs by id.
pub(crate) type Execs = BTreeMap<String, (Rc<Process>, Rc<PendingExec>)>;

/// A supervised container.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) bundle: ContainerBundle,
    pub(crate) runtime: Rc<Runtime>,
    pub(crate) init: Rc<Process>,
    pub(crate) execs: RefCell<Execs>,
    pub(crate) oom_killed: Cell<bool>,
    /// Start and Delete one after the other.
    pub(crate) turn: tokio::sync::Mutex<()>,
    oom: RefCell<Option<OomWatch>>,
}

impl Container {
    pub(crate) fn new(
        id: &str,
        bundle: ContainerBundle,
        runtime: Rc<Runtime>,
        init: Rc<Process>,
        oom: Option<OomWatch>,
    ) -> Self {
        Self {
            id: id.to_owned(),
            bundle,
            runtime,
            init,
            execs: RefCell::default(),
            oom_killed: Cell::new(false),
            turn: tokio::sync::Mutex::new(()),
            oom: RefCell::new(oom),
        }
    }

    /// The first process for an empty id, else an exec.
    pub(crate) fn process(&self, exec_id: &str) -> Option<Rc<Process>> {
        if exec_id.is_empty() {
            return Some(Rc::clone(&self.init));
        }
        self.execs.borrow().get(exec_id).map(|(process, _)| Rc::clone(process))
    }

    /// Looks whether the kernel killed something for lack of memory; says so once.
    fn observe_oom(&self, events: &Events) -> bool {
        let killed = match &mut *self.oom.borrow_mut() {
            Some(watch) => watch.read().is_ok_and(|reading| reading.new_kills > 0),
            None => false,
        };
        if killed {
            self.oom_killed.set(true);
            events.publish(Event::Oom { id: self.id.clone() });
        }
        self.oom_killed.get()
    }

    /// Waits for kills for lack of memory until the container has ended.
    pub(crate) async fn watch_oom(self: Rc<Self>, events: Rc<Events>) {
        use std::os::fd::AsFd as _;
        let fd = self.oom.borrow().as_ref().and_then(|watch| watch.as_fd().try_clone_to_owned().ok());
        let Some(fd) = fd.and_then(|fd| crate::runtime::builtin::raw::watch(fd, Interest::READABLE).ok()) else {
            return;
        };
        loop {
            tokio::select! {
                ready = fd.readable() => match ready {
                    Ok(mut guard) => guard.clear_ready(),
                    Err(_) => return,
                },
                _ = self.init.wait() => return,
            }
            self.observe_oom(&events);
        }
    }

    /// Follows a process to its end: output first, then the record on disk, then everyone who waits.
    pub(crate) async fn supervise(
        self: Rc<Self>,
        process: Rc<Process>,
        exit: tokio::sync::oneshot::Receiver<Exit>,
        events: Rc<Events>,
    ) {
        let Ok(exit) = exit.await else { return };
        let oom_killed = self.observe_oom(&events);
        process.streams.finish().await;
        let record = ExitRecord {
            pid: u32::try_from(process.pid()).unwrap_or(0),
            exit_status: exit.status,
            exited_at_ns: exit.at_ns,
            started_at_ns: process.started_at_ns(),
            oom_killed: oom_killed && (process.exec_id.is_empty() || exit.status == 137),
        };
        if let Err(e) = self.bundle.write_exit(&process.exec_id, &record) {
            crate::journal::say(&format!("exit record of {} {}: {e}", self.id, process.exec_id));
        }
        process.ended(record.clone());
        events.publish(Event::Exit { id: self.id.clone(), exec_id: process.exec_id.clone(), record });
    }
}
