//! One process of a container: the first one, or an exec.

use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use shim_api::options::ExitRecord;
use shim_api::proto::task::v3::StateResponse;
use shim_api::proto::v1::types::Status;
use shim_api::time::{now_unix_ns, timestamp};
use sys::pidfd::PidFd;
use tokio::sync::watch;

use crate::io::streams::Streams;
use crate::runtime::other_shim::Elsewhere;
use crate::state::{Input, ProcessState};

/// The paths of Create and Exec, given back by State.
#[derive(Debug, Clone, Default)]
pub(crate) struct StdioPaths {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
}

/// A supervised process.
#[derive(Debug)]
pub(crate) struct Process {
    /// Empty for the container's first process.
    pub(crate) exec_id: String,
    pub(crate) paths: StdioPaths,
    pub(crate) streams: Rc<Streams>,
    state: Cell<ProcessState>,
    pid: Cell<i32>,
    pidfd: RefCell<Option<PidFd>>,
    elsewhere: RefCell<Option<Rc<Elsewhere>>>,
    started_at_ns: Cell<i64>,
    exit: watch::Sender<Option<ExitRecord>>,
}

impl Process {
    pub(crate) fn new(exec_id: &str, paths: StdioPaths, streams: Rc<Streams>) -> Self {
        Self {
            exec_id: exec_id.to_owned(),
            paths,
            streams,
            state: Cell::new(ProcessState::Added),
            pid: Cell::new(0),
            pidfd: RefCell::default(),
            elsewhere: RefCell::default(),
            started_at_ns: Cell::new(0),
            exit: watch::Sender::new(None),
        }
    }

    pub(crate) fn state(&self) -> ProcessState {
        self.state.get()
    }

    /// Moves on, or says why not.
    pub(crate) fn apply(&self, input: Input) -> Result<(), String> {
        self.state.set(self.state.get().apply(input)?);
        if input == Input::Start {
            self.started_at_ns.set(now_unix_ns());
        }
        Ok(())
    }

    /// The process exists: relaying begins.
    pub(crate) fn made(&self, pid: i32, pidfd: Option<PidFd>, console: Option<OwnedFd>) -> std::io::Result<()> {
        self.pid.set(pid);
        *self.pidfd.borrow_mut() = pidfd;
        self.streams.begin(console)
    }

    /// Another shim holds the process.
    pub(crate) fn is_elsewhere(&self, process: Rc<Elsewhere>) {
        *self.elsewhere.borrow_mut() = Some(process);
    }

    /// How the other shim that holds the process is asked, if one does.
    pub(crate) fn elsewhere(&self) -> Option<Rc<Elsewhere>> {
        self.elsewhere.borrow().clone()
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid.get()
    }

    pub(crate) fn started_at_ns(&self) -> i64 {
        self.started_at_ns.get()
    }

    /// Sends a signal to the process itself.
    pub(crate) fn signal(&self, signal: i32) -> std::io::Result<()> {
        match &*self.pidfd.borrow() {
            Some(pidfd) => pidfd.send_signal(signal),
            None => Err(std::io::Error::from_raw_os_error(libc::ESRCH)),
        }
    }

    /// The end of the process; waits for it.
    pub(crate) async fn wait(&self) -> Option<ExitRecord> {
        let mut exit = self.exit.subscribe();
        exit.wait_for(Option::is_some).await.ok().and_then(|record| record.clone())
    }

    /// The end of the process, if it has come.
    pub(crate) fn exit(&self) -> Option<ExitRecord> {
        self.exit.borrow().clone()
    }

    /// Publishes the end.
    pub(crate) fn ended(&self, record: ExitRecord) {
        let _ = self.apply(Input::Exit);
        *self.pidfd.borrow_mut() = None;
        self.exit.send_replace(Some(record));
    }

    /// The answer of State.
    pub(crate) fn describe(&self, id: &str, bundle: &str, oom_killed: bool) -> StateResponse {
        let status = match self.state() {
            ProcessState::Added | ProcessState::Created => Status::Created,
            ProcessState::Running => Status::Running,
            ProcessState::Paused => Status::Paused,
            ProcessState::Stopped => Status::Stopped,
        };
        let exit = self.exit();
        let started = self.started_at_ns();
        StateResponse {
            id: id.to_owned(),
            bundle: bundle.to_owned(),
            pid: u32::try_from(self.pid()).unwrap_or(0),
            status: status.into(),
            stdin: self.paths.stdin.clone(),
            stdout: self.paths.stdout.clone(),
            stderr: self.paths.stderr.clone(),
            terminal: self.paths.terminal,
            exit_status: exit.as_ref().map_or(0, |exit| exit.exit_status),
            exited_at: exit.as_ref().map(|exit| timestamp(exit.exited_at_ns)),
            exec_id: self.exec_id.clone(),
            oom_killed: oom_killed || exit.is_some_and(|exit| exit.oom_killed),
            started_at: (started > 0).then(|| timestamp(started)),
        }
    }
}
