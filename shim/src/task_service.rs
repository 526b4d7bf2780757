//! The Task service: decode, call, encode; one short function for each RPC.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use prost::Message as _;
use shim_api::bundle::ContainerBundle;
use shim_api::options::{self, ExecOptions, ExitRecord, LogSink, RuntimeChoice, StartFailure, TaskOptions};
use shim_api::proto::events::TaskIo;
use shim_api::proto::task::v3 as wire;
use shim_api::proto::v1::types::ProcessInfo;
use shim_api::proto::{gantry, runc};
use shim_api::time::{now_unix_ns, timestamp};
use shim_api::ttrpc::{Code, Error};
use tokio::sync::oneshot;

use crate::container::{Container, EXECS_MAX};
use crate::events::Event;
use crate::io::streams::{StreamOptions, Streams};
use crate::oci::{Process as OciProcess, Spec};
use crate::process::{Process, StdioPaths};
use crate::reaper::Exit;
use crate::runtime::other_shim::Elsewhere;
use crate::runtime::{CreateRequest, ExecRequest, Failure, OciRuntime as _, Runtime, cgroup_of};
use crate::serve::Shim;
use crate::state::{Input, ProcessState};
use crate::{metrics, runtime};

type Answer<T> = Result<T, Error>;
/// A process of another shim, and its end.
type Made = (Rc<Elsewhere>, oneshot::Receiver<Exit>);

/// The failure as the protocol's error: a sentence, and for programs the step and the exit code to report.
fn to_error(failure: &Failure) -> Error {
    let code = match failure.step.as_str() {
        "config" => Code::InvalidArgument,
        "find" => Code::NotFound,
        _ => Code::Unknown,
    };
    let detail = StartFailure { step: failure.step.clone(), errno: failure.errno, exit_code: failure.exit_code() };
    let error = Error::new(code, failure.message.clone());
    match options::to_any(options::START_FAILURE_URL, &detail) {
        Ok(any) => error.with_detail(any),
        Err(_) => error,
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Code::InvalidArgument, message)
}

fn refused(id: &str, reason: &str) -> Error {
    Error::new(Code::FailedPrecondition, format!("{id}: {reason}"))
}

/// Ids become file names.
fn check_id(field: &str, id: &str) -> Answer<()> {
    let fine = !id.is_empty()
        && id.len() <= 128
        && !id.starts_with('.')
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if fine { Ok(()) } else { Err(invalid(format!("{field}: {id:?} is not a valid id"))) }
}

/// Our options; or containerd's, whose streams are FIFOs.
fn task_options(request: &wire::CreateTaskRequest) -> Answer<TaskOptions> {
    let Some(any) = &request.options else { return Ok(TaskOptions::default()) };
    match any.type_url.as_str() {
        options::TASK_OPTIONS_URL => options::from_any(any),
        "containerd.runc.v1.Options" => {
            let given = runc::Options::decode(&any.value[..]).map_err(|e| invalid(format!("options: {e}")))?;
            let runtime = match given.binary_name.as_str() {
                "" => RuntimeChoice::Builtin,
                binary => RuntimeChoice::Command {
                    binary: PathBuf::from(binary),
                    root: (!given.root.is_empty()).then(|| PathBuf::from(&given.root)),
                },
            };
            let cgroup_driver =
                if given.systemd_cgroup { options::CgroupDriver::Systemd } else { options::CgroupDriver::Cgroupfs };
            Ok(TaskOptions { runtime, cgroup_driver, no_new_keyring: given.no_new_keyring, ..TaskOptions::default() })
        }
        // Options of another runtime's configuration say nothing to this one.
        _ => Ok(TaskOptions::default()),
    }
}

impl Shim {
    fn container(&self, id: &str) -> Answer<Rc<Container>> {
        let found = self.containers.borrow().get(id).map(Rc::clone);
        found.ok_or_else(|| Error::new(Code::NotFound, format!("container {id} not found")))
    }

    fn process(&self, id: &str, exec_id: &str) -> Answer<(Rc<Container>, Rc<Process>)> {
        let container = self.container(id)?;
        let process = container
            .process(exec_id)
            .ok_or_else(|| Error::new(Code::NotFound, format!("exec {exec_id} of container {id} not found")))?;
        Ok((container, process))
    }

    pub(crate) async fn create(self: Rc<Self>, request: wire::CreateTaskRequest) -> Answer<wire::CreateTaskResponse> {
        check_id("id", &request.id)?;
        if !request.checkpoint.is_empty() {
            return Err(Error::new(Code::Unimplemented, "checkpoint: restore is not supported"));
        }
        let id = request.id.clone();
        if self.containers.borrow().contains_key(&id) || !self.creating.borrow_mut().insert(id.clone()) {
            return Err(Error::new(Code::AlreadyExists, format!("container {id} exists already")));
        }
        let made = Rc::clone(&self).create_reserved(request).await;
        self.creating.borrow_mut().remove(&id);
        made
    }

    async fn create_reserved(self: Rc<Self>, request: wire::CreateTaskRequest) -> Answer<wire::CreateTaskResponse> {
        let options = task_options(&request)?;
        let bundle = ContainerBundle::at(PathBuf::from(&request.bundle));
        let spec = Rc::new(Spec::read(&bundle.config()).map_err(invalid)?);
        let terminal = request.terminal || spec.process.as_ref().is_some_and(|process| process.terminal);
        let paths = StdioPaths {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal,
        };
        let shm = self.shared_memory_of(&bundle, &spec, options.shm_of)?;
        let runtime = self.runtime(&options, bundle.folder());
        let (streams, stdio) = open_streams(&paths, &options, false, fifos_of(&runtime, &bundle, ""))?;
        let size = options.terminal_size.map(|size| (size.width, size.height));
        let size = size.or_else(|| {
            spec.process.as_ref().and_then(|process| process.console_size).map(|size| (size.width, size.height))
        });
        let created = runtime
            .create(CreateRequest {
                id: request.id.clone(),
                bundle: bundle.folder().to_owned(),
                spec: Rc::clone(&spec),
                rootfs: request.rootfs.clone(),
                stdio,
                cgroup_driver: options.cgroup_driver,
                terminal_size: size,
                no_new_keyring: options.no_new_keyring,
                init: options.init,
                shm,
            })
            .await
            .map_err(|failure| to_error(&failure))?;
        let process = Rc::new(Process::new("", paths, streams));
        let exit = self.end_of(&process, created.pid, created.elsewhere);
        self.say_once(&created.warnings);
        process.apply(Input::Create).map_err(invalid)?;
        process
            .made(created.pid, created.pidfd, created.console)
            .map_err(|e| Error::new(Code::Internal, format!("streams: {e}")))?;
        let oom = cgroup_of(&spec, &request.id, options.cgroup_driver).ok().and_then(|cgroup| cgroup.oom_events().ok());
        let container = Rc::new(Container::new(&request.id, bundle, runtime, Rc::clone(&process), oom));
        self.containers.borrow_mut().insert(request.id.clone(), Rc::clone(&container));
        let pid = u32::try_from(process.pid()).unwrap_or(0);
        let io = TaskIo { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr, terminal };
        self.events.publish(Event::Create { id: request.id, bundle: request.bundle, rootfs: request.rootfs, io, pid });
        tokio::task::spawn_local(Rc::clone(&container).watch_oom(Rc::clone(&self.events)));
        tokio::task::spawn_local(container.supervise(process, exit, Rc::clone(&self.events)));
        Ok(wire::CreateTaskResponse { pid })
    }

    /// The shared memory that the spec mounts, if it does.
    fn shared_memory_of(
        &self,
        bundle: &ContainerBundle,
        spec: &Spec,
        of: Option<i32>,
    ) -> Answer<Option<runtime::SharedMemory>> {
        let source = bundle.shm();
        if !spec.mounts.iter().any(|mount| Path::new(&mount.source) == source) {
            return Ok(None);
        }
        let failed = |why: String| Error::new(Code::Internal, format!("shared memory: {why}"));
        let mount = self.shared_memory(of).map_err(|e| failed(e.to_string()))?;
        let mount = mount.ok_or_else(|| failed("the sandbox holds none".to_owned()))?;
        Ok(Some(runtime::SharedMemory { source, mount }))
    }

    /// How a process that was made will end: its parent learns it, or the other shim that made it.
    fn end_of(&self, process: &Process, pid: i32, elsewhere: Option<Made>) -> oneshot::Receiver<Exit> {
        let Some((there, exit)) = elsewhere else { return self.reaper.watch(pid) };
        process.is_elsewhere(there);
        exit
    }

    pub(crate) async fn start(self: Rc<Self>, request: wire::StartRequest) -> Answer<wire::StartResponse> {
        let (container, process) = self.process(&request.id, &request.exec_id)?;
        if request.exec_id.is_empty() {
            let _turn = container.turn.lock().await;
            ProcessState::apply(process.state(), Input::Start).map_err(|reason| refused(&request.id, &reason))?;
            container.runtime.start(&container.id).await.map_err(|failure| to_error(&failure))?;
            let _ = process.apply(Input::Start);
            let pid = u32::try_from(process.pid()).unwrap_or(0);
            self.events.publish(Event::Start { id: request.id, pid });
            return Ok(wire::StartResponse { pid });
        }
        self.start_exec(&container, process).await
    }

    async fn start_exec(&self, container: &Rc<Container>, process: Rc<Process>) -> Answer<wire::StartResponse> {
        let pending = container.execs.borrow().get(&process.exec_id).map(|(_, pending)| Rc::clone(pending));
        let request = pending.and_then(|pending| pending.borrow_mut().take());
        let request = request.ok_or_else(|| refused(&process.exec_id, "it was started already"))?;
        if container.init.state() != ProcessState::Running {
            self.fail_exec(container, &process, 128).await;
            return Err(refused(&container.id, "the container is not running"));
        }
        let created = match container.runtime.exec(&container.id, request).await {
            Ok(created) => created,
            Err(failure) => {
                self.fail_exec(container, &process, failure.exit_code()).await;
                return Err(to_error(&failure));
            }
        };
        let exit = self.end_of(&process, created.pid, created.elsewhere);
        self.say_once(&created.warnings);
        process
            .made(created.pid, created.pidfd, created.console)
            .map_err(|e| Error::new(Code::Internal, format!("streams: {e}")))?;
        let _ = process.apply(Input::Create).and_then(|()| process.apply(Input::Start));
        let pid = u32::try_from(process.pid()).unwrap_or(0);
        self.events.publish(Event::ExecStarted { id: container.id.clone(), exec_id: process.exec_id.clone(), pid });
        tokio::task::spawn_local(Rc::clone(container).supervise(process, exit, Rc::clone(&self.events)));
        Ok(wire::StartResponse { pid })
    }

    /// An exec that could not be started has ended: whoever waits for it or is attached learns so.
    async fn fail_exec(&self, container: &Container, process: &Process, exit_status: u32) {
        process.streams.finish().await;
        let record =
            ExitRecord { pid: 0, exit_status, exited_at_ns: now_unix_ns(), started_at_ns: 0, oom_killed: false };
        let _ = container.bundle.write_exit(&process.exec_id, &record);
        process.ended(record);
    }

    pub(crate) async fn exec(self: Rc<Self>, request: wire::ExecProcessRequest) -> Answer<()> {
        check_id("exec_id", &request.exec_id)?;
        let container = self.container(&request.id)?;
        if container.execs.borrow().contains_key(&request.exec_id) {
            return Err(Error::new(Code::AlreadyExists, format!("exec {} exists already", request.exec_id)));
        }
        if container.execs.borrow().len() >= EXECS_MAX {
            return Err(Error::new(Code::ResourceExhausted, format!("container {} has {EXECS_MAX} execs", request.id)));
        }
        let any = request.spec.as_ref().ok_or_else(|| invalid("spec: is required"))?;
        let (text, options) = match any.type_url.as_str() {
            options::EXEC_OPTIONS_URL => {
                let options: ExecOptions = options::from_any(any)?;
                (options.process.get().as_bytes().to_vec(), Some(options))
            }
            _ => (any.value.clone(), None),
        };
        let mut process: OciProcess =
            serde_json::from_slice(&text).map_err(|e| invalid(format!("spec: process: {e}")))?;
        process.terminal |= request.terminal;
        process.check().map_err(|e| invalid(format!("spec: {e}")))?;
        let paths = StdioPaths {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: process.terminal,
        };
        let task = TaskOptions {
            log: options.as_ref().map_or(LogSink::Null, |options| options.log.clone()),
            stdin: options.as_ref().is_some_and(|options| options.stdin),
            stdin_once: true,
            ..TaskOptions::default()
        };
        let wait = options.is_some_and(|options| options.wait_for_attach);
        let fifos = fifos_of(&container.runtime, &container.bundle, &request.exec_id);
        let (streams, stdio) = open_streams(&paths, &task, wait, fifos)?;
        let size = process.console_size.map(|size| (size.width, size.height));
        let pending = ExecRequest { process, process_json: text, stdio, terminal_size: size };
        let added = Rc::new(Process::new(&request.exec_id, paths, streams));
        container.execs.borrow_mut().insert(request.exec_id.clone(), (added, Rc::new(RefCell::new(Some(pending)))));
        self.events.publish(Event::ExecAdded { id: request.id, exec_id: request.exec_id });
        Ok(())
    }

    pub(crate) async fn delete(self: Rc<Self>, request: wire::DeleteRequest) -> Answer<wire::DeleteResponse> {
        let (container, process) = self.process(&request.id, &request.exec_id)?;
        let _turn = container.turn.lock().await;
        if request.exec_id.is_empty() && process.state() == ProcessState::Created {
            // Created and never started: deleting it ends it.
            let _ = container.runtime.kill(&container.id, libc::SIGKILL, true).await;
            let _ = process.signal(libc::SIGKILL);
            let _ = tokio::time::timeout(Duration::from_secs(10), process.wait()).await;
        }
        process.state().apply(Input::Delete).map_err(|reason| refused(&request.id, &reason))?;
        let record = process.exit().unwrap_or(ExitRecord {
            pid: 0,
            exit_status: 0,
            exited_at_ns: now_unix_ns(),
            started_at_ns: 0,
            oom_killed: false,
        });
        if request.exec_id.is_empty() {
            container.runtime.delete(&container.id).await.map_err(|failure| to_error(&failure))?;
            self.containers.borrow_mut().remove(&request.id);
        } else {
            container.execs.borrow_mut().remove(&request.exec_id);
            if container.runtime.is_elsewhere() {
                let _ = std::fs::remove_dir_all(container.bundle.fifos(&request.exec_id));
            }
        }
        let _ = container.bundle.remove_exit(&request.exec_id);
        let answer = wire::DeleteResponse {
            pid: record.pid,
            exit_status: record.exit_status,
            exited_at: Some(timestamp(record.exited_at_ns)),
        };
        self.events.publish(Event::Delete { id: request.id, exec_id: request.exec_id, record });
        Ok(answer)
    }

    pub(crate) async fn state(self: Rc<Self>, request: wire::StateRequest) -> Answer<wire::StateResponse> {
        let (container, process) = self.process(&request.id, &request.exec_id)?;
        let bundle = container.bundle.folder().to_string_lossy();
        Ok(process.describe(&container.id, &bundle, container.oom_killed.get()))
    }

    pub(crate) async fn wait(self: Rc<Self>, request: wire::WaitRequest) -> Answer<wire::WaitResponse> {
        let (_container, process) = self.process(&request.id, &request.exec_id)?;
        let record = process.wait().await.ok_or_else(|| Error::new(Code::Internal, "the shim lost the process"))?;
        Ok(wire::WaitResponse {
            exit_status: record.exit_status,
            exited_at: Some(timestamp(record.exited_at_ns)),
            oom_killed: record.oom_killed,
        })
    }

    pub(crate) async fn kill(self: Rc<Self>, request: wire::KillRequest) -> Answer<()> {
        let (container, process) = self.process(&request.id, &request.exec_id)?;
        let signal = i32::try_from(request.signal).ok().filter(|s| sys::pidfd::signal_from_number(*s).is_some());
        let signal = signal.ok_or_else(|| invalid(format!("signal: {} is no signal", request.signal)))?;
        if process.state() == ProcessState::Stopped {
            return Err(Error::new(Code::NotFound, format!("{}: process already finished", request.id)));
        }
        if request.exec_id.is_empty() && request.all {
            return container.runtime.kill(&container.id, signal, true).await.map_err(|f| to_error(&f));
        }
        let sent = match process.elsewhere() {
            Some(elsewhere) => elsewhere.signal(signal).await.map_err(|f| to_error(&f)),
            None => Self::signal(&process, &request.id, signal),
        };
        if signal == libc::SIGKILL {
            // Whoever froze it: on cgroup v1 what is frozen does not die.
            container.runtime.thaw_killed(&container.id);
        }
        sent
    }

    fn signal(process: &Process, id: &str, signal: i32) -> Answer<()> {
        process.signal(signal).map_err(|e| match e.raw_os_error() {
            Some(libc::ESRCH) => Error::new(Code::NotFound, format!("{}: process already finished", id)),
            _ => Error::new(Code::Internal, format!("kill {}: {e}", id)),
        })
    }

    pub(crate) async fn resize(self: Rc<Self>, request: wire::ResizePtyRequest) -> Answer<()> {
        let (_container, process) = self.process(&request.id, &request.exec_id)?;
        let size = |field: &str, n: u32| u16::try_from(n).map_err(|_e| invalid(format!("{field}: {n} is too large")));
        let (width, height) = (size("width", request.width)?, size("height", request.height)?);
        if process.state() == ProcessState::Stopped {
            return Err(refused(&request.id, "the process has ended"));
        }
        if let Some(elsewhere) = process.elsewhere() {
            return elsewhere.resize(width, height).await.map_err(|f| to_error(&f));
        }
        process.streams.resize(width, height).map_err(|e| refused(&request.id, &e.to_string()))
    }

    pub(crate) async fn close_io(self: Rc<Self>, request: wire::CloseIoRequest) -> Answer<()> {
        let (_container, process) = self.process(&request.id, &request.exec_id)?;
        if request.stdin {
            process.streams.close_stdin();
        }
        Ok(())
    }

    pub(crate) async fn pids(self: Rc<Self>, request: wire::PidsRequest) -> Answer<wire::PidsResponse> {
        let container = self.container(&request.id)?;
        let pids = container.runtime.pids(&container.id).map_err(|failure| to_error(&failure))?;
        let execs = container.execs.borrow();
        let info = |pid: i32| -> Option<shim_api::Any> {
            let (process, _) = execs.values().find(|(process, _)| process.pid() == pid)?;
            let details = runc::ProcessDetails { exec_id: process.exec_id.clone() };
            Some(shim_api::Any {
                type_url: "containerd.runc.v1.ProcessDetails".to_owned(),
                value: details.encode_to_vec(),
            })
        };
        let processes =
            pids.into_iter().map(|pid| ProcessInfo { pid: u32::try_from(pid).unwrap_or(0), info: info(pid) }).collect();
        Ok(wire::PidsResponse { processes })
    }

    pub(crate) async fn pause(self: Rc<Self>, request: wire::PauseRequest) -> Answer<()> {
        let container = self.container(&request.id)?;
        container.init.state().apply(Input::Pause).map_err(|reason| refused(&request.id, &reason))?;
        container.runtime.pause(&container.id).await.map_err(|failure| to_error(&failure))?;
        let _ = container.init.apply(Input::Pause);
        self.events.publish(Event::Paused { id: request.id });
        Ok(())
    }

    pub(crate) async fn resume(self: Rc<Self>, request: wire::ResumeRequest) -> Answer<()> {
        let container = self.container(&request.id)?;
        container.init.state().apply(Input::Resume).map_err(|reason| refused(&request.id, &reason))?;
        container.runtime.resume(&container.id).await.map_err(|failure| to_error(&failure))?;
        let _ = container.init.apply(Input::Resume);
        self.events.publish(Event::Resumed { id: request.id });
        Ok(())
    }

    pub(crate) async fn update(self: Rc<Self>, request: wire::UpdateTaskRequest) -> Answer<()> {
        let container = self.container(&request.id)?;
        let any = request.resources.ok_or_else(|| invalid("resources: is required"))?;
        let limits = serde_json::from_slice(&any.value).map_err(|e| invalid(format!("resources: {e}")))?;
        container.runtime.update(&container.id, &limits, &any.value).await.map_err(|failure| to_error(&failure))
    }

    pub(crate) async fn stats(self: Rc<Self>, request: wire::StatsRequest) -> Answer<wire::StatsResponse> {
        let container = self.container(&request.id)?;
        let stats = container.runtime.stats(&container.id).map_err(|failure| to_error(&failure))?;
        let any = if self.for_containerd() {
            metrics::to_containerd(&stats)
        } else {
            options::to_any(options::CGROUP_STATS_URL, &stats)?
        };
        Ok(wire::StatsResponse { stats: Some(any) })
    }

    pub(crate) async fn connect(self: Rc<Self>, request: wire::ConnectRequest) -> Answer<wire::ConnectResponse> {
        let task = self.container(&request.id).map_or(0, |container| container.init.pid());
        Ok(wire::ConnectResponse {
            shim_pid: std::process::id(),
            task_pid: u32::try_from(task).unwrap_or(0),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }

    pub(crate) async fn shutdown(self: Rc<Self>, request: wire::ShutdownRequest) -> Answer<()> {
        if !request.now && (!self.containers.borrow().is_empty() || self.sandbox_is_held()) {
            return Ok(());
        }
        self.stop.notify_one();
        Ok(())
    }

    pub(crate) async fn checkpoint(self: Rc<Self>, request: wire::CheckpointTaskRequest) -> Answer<()> {
        let container = self.container(&request.id)?;
        container
            .runtime
            .checkpoint(&container.id, &request.path)
            .await
            .map_err(|failure| Error::new(Code::Unimplemented, failure.message))
    }

    pub(crate) async fn reopen_log(
        self: Rc<Self>,
        request: gantry::ReopenLogRequest,
    ) -> Answer<gantry::ReopenLogResponse> {
        let container = self.container(&request.id)?;
        let reopened = container.init.streams.outputs.log.borrow_mut().reopen();
        reopened.map_err(|e| Error::new(Code::Internal, e.to_string()))?;
        Ok(gantry::ReopenLogResponse {})
    }
}

/// Where the FIFOs of a process are that another shim runs.
fn fifos_of(runtime: &Runtime, bundle: &ContainerBundle, exec_id: &str) -> Option<PathBuf> {
    runtime.is_elsewhere().then(|| bundle.fifos(exec_id))
}

fn open_streams(
    paths: &StdioPaths,
    options: &TaskOptions,
    wait_for_attach: bool,
    elsewhere: Option<PathBuf>,
) -> Answer<(Rc<Streams>, runtime::Stdio)> {
    // containerd's log URIs (binary://, file://) are programs and files of its own choosing.
    let fifos = [&*paths.stdin, &*paths.stdout, &*paths.stderr];
    let mut log = options.log.clone();
    let mut named = fifos;
    for (field, path) in ["stdin", "stdout", "stderr"].iter().zip(&mut named) {
        if let Some(file) = path.strip_prefix("file://") {
            log = LogSink::CriFile { path: PathBuf::from(file) };
            *path = "";
        } else if path.contains("://") {
            return Err(Error::new(
                Code::Unimplemented,
                format!("{field}: {path}: only FIFOs and file:// are supported"),
            ));
        }
    }
    let streams = StreamOptions {
        terminal: paths.terminal,
        stdin: options.stdin,
        stdin_once: options.stdin_once,
        log,
        wait_for_attach,
        fifos: named,
        elsewhere,
    };
    Streams::new(&streams).map_err(|e| Error::new(Code::Internal, format!("streams: {e}")))
}
