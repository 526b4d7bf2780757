//! Another containerd shim (Debian's for runc, kata's, runwasi's) as the runtime of one container.
//!
//! Ours stays the one that the engine talks to: it holds the pod's namespaces, the streams, the log and the exit
//! records. The other one makes the processes; it is spoken to in containerd's protocol, gets FIFOs for the streams, and
//! lives in a mount namespace of its own, so that its mounts are not the host's.

mod launch;

use std::cell::{Cell, RefCell};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use prost::Message as _;
use shim_api::Any;
use shim_api::bundle::ContainerBundle;
use shim_api::options::{CgroupDriver, OCI_PROCESS_URL, OCI_RESOURCES_URL};
use shim_api::proto::task::v3 as wire;
use shim_api::proto::{runc, runtimeoptions};
use shim_api::task::TaskClient;
use shim_api::ttrpc::{Code, Error};
use sys::cgroup::{Cgroup, CgroupStats, Limits};
use sys::pidfd::PidFd;
use tokio::io::Interest;
use tokio::sync::oneshot;

use self::launch::{Launch, Launched};
use super::builtin::raw;
use super::command::{PrivateMounts, told};
use crate::journal;
use crate::reaper::{Exit, Reaper};
use crate::runtime::{CreateRequest, Created, ExecRequest, Failure, OciRuntime, Result, Stdio, cgroup_of, root_path};

/// A shim that was told to end has this long.
const END_MAX: Duration = Duration::from_secs(5);
/// What containerd reports of a task whose shim was lost.
const LOST_STATUS: u32 = 255;

/// The other shim and its container.
#[derive(Debug)]
pub(crate) struct OtherShimRuntime {
    binary: PathBuf,
    config: Option<PathBuf>,
    driver: CgroupDriver,
    reaper: Rc<Reaper>,
    running: RefCell<Option<Rc<Running>>>,
    execs: Cell<u64>,
}

#[derive(Debug)]
struct Running {
    shim: Launched,
    bundle: ContainerBundle,
    cgroup: Option<Cgroup>,
}

/// A process that the other shim made: what is done to it goes through that shim.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    task: TaskClient,
    id: String,
    /// In the other shim's words; empty for the first process.
    exec_id: String,
}

/// The other shim's answer as a failure of ours.
fn refused(verb: &str, error: &Error) -> Failure {
    match error.code {
        Code::NotFound if verb == "kill" => Failure::new("find", error.message.clone()),
        _ => told(Path::new("shim"), verb, &error.message),
    }
}

impl Elsewhere {
    /// Sets the terminal's size in characters.
    pub(crate) async fn resize(&self, width: u16, height: u16) -> Result<()> {
        let request = wire::ResizePtyRequest {
            id: self.id.clone(),
            exec_id: self.exec_id.clone(),
            width: u32::from(width),
            height: u32::from(height),
        };
        self.task.resize_pty(&request).await.map_err(|e| refused("resize", &e))
    }

    /// Sends a signal to the process itself.
    pub(crate) async fn signal(&self, signal: i32) -> Result<()> {
        let request = wire::KillRequest {
            id: self.id.clone(),
            exec_id: self.exec_id.clone(),
            signal: signal.unsigned_abs(),
            all: false,
        };
        self.task.kill(&request).await.map_err(|e| refused("kill", &e))
    }

    /// Waits for the end; an exec is forgotten by the other shim then.
    async fn ended(self: Rc<Self>, running: Rc<Running>, exit: oneshot::Sender<Exit>) {
        let request = wire::WaitRequest { id: self.id.clone(), exec_id: self.exec_id.clone() };
        let told = match self.task.wait(&request).await {
            Ok(answer) => {
                let at = answer.exited_at.as_ref();
                let at_ns = at.map_or_else(shim_api::time::now_unix_ns, shim_api::time::from_timestamp);
                Exit { status: answer.exit_status, at_ns }
            }
            Err(error) => {
                journal::say(&format!("{}: the other shim is lost, its container is ended: {error}", self.id));
                if let Some(cgroup) = &running.cgroup {
                    let _ = cgroup.kill_all();
                }
                Exit { status: LOST_STATUS, at_ns: shim_api::time::now_unix_ns() }
            }
        };
        let _ = exit.send(told);
        if !self.exec_id.is_empty() {
            let request = wire::DeleteRequest { id: self.id.clone(), exec_id: self.exec_id.clone() };
            if let Err(error) = self.task.delete(&request).await {
                journal::say(&format!("{}: the other shim keeps {}: {error}", self.id, self.exec_id));
            }
        }
    }
}

/// The paths of the FIFOs that a process was given; empty where it has `/dev/null`.
fn fifo_paths(stdio: &Stdio) -> [String; 3] {
    let path = |there: bool, name: &str| {
        let folder = stdio.folder.as_ref().filter(|_| there);
        folder.map(|folder| folder.join(name).to_string_lossy().into_owned()).unwrap_or_default()
    };
    [
        path(stdio.stdin.is_some(), "stdin"),
        path(stdio.stdout.is_some(), "stdout"),
        path(stdio.stderr.is_some(), "stderr"),
    ]
}

impl OtherShimRuntime {
    /// `config` is a file in the other shim's own format.
    pub(crate) fn new(binary: PathBuf, config: Option<PathBuf>, driver: CgroupDriver, reaper: Rc<Reaper>) -> Self {
        Self { binary, config, driver, reaper, running: RefCell::default(), execs: Cell::new(0) }
    }

    fn running(&self, id: &str) -> Result<Rc<Running>> {
        let found = self.running.borrow().clone();
        found.ok_or_else(|| Failure::new("find", format!("container {id} does not exist")))
    }

    /// Thaws it, if it is there and frozen.
    pub(crate) fn thaw(&self) {
        if let Some(cgroup) = self.running.borrow().as_ref().and_then(|running| running.cgroup.as_ref()) {
            let _ = cgroup.thaw();
        }
    }

    /// What containerd would send: runc's options to the shims of the runc family, else the configured file.
    fn options(&self, bundle: &Path, no_new_keyring: bool) -> Option<Any> {
        if let Some(config) = &self.config {
            let config_path = config.to_string_lossy().into_owned();
            let options = runtimeoptions::v1::Options { config_path, ..Default::default() };
            return Some(Any { type_url: "runtimeoptions.v1.Options".to_owned(), value: options.encode_to_vec() });
        }
        let name = self.binary.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with("containerd-shim-runc-") {
            return None;
        }
        let options = runc::Options {
            no_new_keyring,
            root: bundle.join("runc").to_string_lossy().into_owned(),
            systemd_cgroup: self.driver == CgroupDriver::Systemd,
            ..runc::Options::default()
        };
        Some(Any { type_url: "containerd.runc.v1.Options".to_owned(), value: options.encode_to_vec() })
    }

    /// Tells of a process of the other shim.
    fn made(&self, running: &Rc<Running>, id: &str, exec_id: &str, pid: u32) -> Created {
        let process =
            Rc::new(Elsewhere { task: running.shim.task.clone(), id: id.to_owned(), exec_id: exec_id.to_owned() });
        let (sender, exit) = oneshot::channel();
        tokio::task::spawn_local(Rc::clone(&process).ended(Rc::clone(running), sender));
        Created {
            pid: i32::try_from(pid).unwrap_or(0),
            pidfd: None,
            console: None,
            warnings: Vec::new(),
            elsewhere: Some((process, exit)),
        }
    }

    async fn create_task(
        &self,
        running: &Rc<Running>,
        id: &str,
        stdio: &Stdio,
        terminal: bool,
        options: Option<Any>,
    ) -> Result<Created> {
        let [stdin, stdout, stderr] = fifo_paths(stdio);
        let request = wire::CreateTaskRequest {
            id: id.to_owned(),
            bundle: running.bundle.folder().to_string_lossy().into_owned(),
            terminal,
            stdin,
            stdout,
            stderr,
            options,
            ..Default::default()
        };
        let answer = running.shim.task.create(&request).await.map_err(|e| refused("create", &e))?;
        Ok(self.made(running, id, "", answer.pid))
    }

    /// Ends the other shim and what it left outside of the bundle.
    async fn end(&self, id: &str, running: &Running) {
        let shim = &running.shim;
        let request = wire::ShutdownRequest { id: id.to_owned(), now: true };
        let _ = tokio::time::timeout(END_MAX, shim.task.shutdown(&request)).await;
        if let Some(process) = &shim.process {
            let watched = process.as_fd().try_clone_to_owned().and_then(|fd| raw::watch(fd, Interest::READABLE));
            if let Ok(fd) = watched
                && tokio::time::timeout(END_MAX, fd.readable()).await.is_err()
            {
                journal::say(&format!("{id}: {} was told to end and did not; it is killed", self.binary.display()));
                let _ = process.send_signal(libc::SIGKILL);
            }
        }
        let _ = std::fs::remove_file(&shim.socket);
        let _ = std::fs::remove_file(running.bundle.other_shim());
    }
}

impl OciRuntime for OtherShimRuntime {
    async fn create(&self, request: CreateRequest) -> Result<Created> {
        let CreateRequest { id, bundle, spec, rootfs: mounts, stdio, terminal_size, no_new_keyring, init, shm, .. } =
            request;
        if init {
            return Err(Failure::new("config", "init: only the built-in runtime provides one"));
        }
        let cgroup = cgroup_of(&spec, &id, self.driver).ok();
        let mounts = PrivateMounts::new(&mounts, &root_path(&spec, &bundle), shm)?;
        let options = self.options(&bundle, no_new_keyring);
        let bundle = ContainerBundle::at(bundle);
        let launch = Launch { binary: &self.binary, id: &id, bundle: &bundle, options: options.as_ref() };
        let shim = launch::launch(launch, &self.reaper, move || mounts.attach()).await?;
        let running = Rc::new(Running { shim, bundle, cgroup });
        let terminal = spec.process.as_ref().is_some_and(|process| process.terminal);
        let created = match self.create_task(&running, &id, &stdio, terminal, options).await {
            Ok(created) => created,
            Err(failure) => {
                self.end(&id, &running).await;
                return Err(failure);
            }
        };
        if let (Some((width, height)), Some((process, _))) = (terminal_size, &created.elsewhere) {
            process.resize(width, height).await?;
        }
        *self.running.borrow_mut() = Some(running);
        Ok(created)
    }

    async fn start(&self, id: &str) -> Result<()> {
        let request = wire::StartRequest { id: id.to_owned(), exec_id: String::new() };
        self.running(id)?.shim.task.start(&request).await.map(drop).map_err(|e| refused("start", &e))
    }

    async fn exec(&self, id: &str, request: ExecRequest) -> Result<Created> {
        let running = self.running(id)?;
        self.execs.set(self.execs.get() + 1);
        let exec_id = format!("exec-{}", self.execs.get());
        let [stdin, stdout, stderr] = fifo_paths(&request.stdio);
        let added = wire::ExecProcessRequest {
            id: id.to_owned(),
            exec_id: exec_id.clone(),
            terminal: request.process.terminal,
            stdin,
            stdout,
            stderr,
            spec: Some(Any { type_url: OCI_PROCESS_URL.to_owned(), value: request.process_json }),
        };
        let task = &running.shim.task;
        task.exec(&added).await.map_err(|e| refused("exec", &e))?;
        let started = task.start(&wire::StartRequest { id: id.to_owned(), exec_id: exec_id.clone() }).await;
        let answer = match started {
            Ok(answer) => answer,
            Err(error) => {
                let _ = task.delete(&wire::DeleteRequest { id: id.to_owned(), exec_id }).await;
                return Err(refused("exec", &error));
            }
        };
        let created = self.made(&running, id, &exec_id, answer.pid);
        if let (Some((width, height)), Some((process, _))) = (request.terminal_size, &created.elsewhere) {
            // It may have ended by now, which is no failure.
            let _ = process.resize(width, height).await;
        }
        Ok(created)
    }

    async fn kill(&self, id: &str, signal: i32, all: bool) -> Result<()> {
        let running = self.running(id)?;
        let request =
            wire::KillRequest { id: id.to_owned(), exec_id: String::new(), signal: signal.unsigned_abs(), all };
        let asked = running.shim.task.kill(&request).await.map_err(|e| refused("kill", &e));
        match &running.cgroup {
            // A shim that is stuck or gone does not keep its container alive.
            Some(cgroup) if all && signal == libc::SIGKILL && cgroup.exists() => {
                cgroup.kill_all().map_err(|e| Failure::new("cgroup", e.to_string()))
            }
            _ => asked,
        }
    }

    async fn pause(&self, id: &str) -> Result<()> {
        let request = wire::PauseRequest { id: id.to_owned() };
        self.running(id)?.shim.task.pause(&request).await.map_err(|e| refused("pause", &e))
    }

    async fn resume(&self, id: &str) -> Result<()> {
        let request = wire::ResumeRequest { id: id.to_owned() };
        self.running(id)?.shim.task.resume(&request).await.map_err(|e| refused("resume", &e))
    }

    async fn update(&self, id: &str, _limits: &Limits, limits_json: &[u8]) -> Result<()> {
        let resources = Any { type_url: OCI_RESOURCES_URL.to_owned(), value: limits_json.to_vec() };
        let request = wire::UpdateTaskRequest { id: id.to_owned(), resources: Some(resources), ..Default::default() };
        self.running(id)?.shim.task.update(&request).await.map_err(|e| refused("update", &e))
    }

    fn stats(&self, id: &str) -> Result<CgroupStats> {
        let running = self.running(id)?;
        let cgroup = running.cgroup.as_ref().ok_or_else(|| Failure::new("cgroup", "the cgroup is not known"))?;
        cgroup.stats().map_err(|e| Failure::new("cgroup", e.to_string()))
    }

    fn pids(&self, id: &str) -> Result<Vec<i32>> {
        let running = self.running(id)?;
        let cgroup = running.cgroup.as_ref().ok_or_else(|| Failure::new("cgroup", "the cgroup is not known"))?;
        Ok(cgroup.pids().map_err(|e| Failure::new("cgroup", e.to_string()))?.into_iter().collect())
    }

    async fn delete(&self, id: &str) -> Result<()> {
        let Some(running) = self.running.borrow_mut().take() else { return Ok(()) };
        let request = wire::DeleteRequest { id: id.to_owned(), exec_id: String::new() };
        if let Err(error) = running.shim.task.delete(&request).await {
            journal::say(&format!("{id}: {} cannot delete it: {error}", self.binary.display()));
            launch::clean_up(&self.binary, id, &running.bundle, &self.reaper).await;
            if let Some(cgroup) = running.cgroup.as_ref().filter(|cgroup| cgroup.exists()) {
                let _ = cgroup.kill_all().and_then(|()| cgroup.remove());
            }
        }
        self.end(id, &running).await;
        Ok(())
    }
}

/// The other shim's process.
fn process_of(pid: u32) -> Option<PidFd> {
    i32::try_from(pid).ok().filter(|pid| *pid > 1).and_then(|pid| PidFd::open(pid).ok())
}
