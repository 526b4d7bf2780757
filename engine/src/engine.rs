//! The engine: a cheap handle that both doors hold. It looks up, creates and lists; policy is below.
//!
//! A call that changes something is carried out by the object's driver: a client that goes away cancels nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::config::EngineConfig;
use crate::container::{
    AttachOptions, AttachedIo, ContainerView, ExecOutput, ExecView, LogOptions, LogReceiver, RemoveOptions,
    StatsSample, TopTable, WaitCondition, WaitOutcome,
};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::id::{ContainerId, ExecId, Owner, SandboxId};
use crate::sandbox::SandboxView;
use crate::spec::{ContainerSpec, ExecSpec, Resources, SandboxSpec};

/// Everything a door can ask for.
#[derive(Debug, Clone)]
pub struct Engine {
    config: Arc<EngineConfig>,
}

/// Follows events; `None` never comes while the engine runs. A follower that is too slow gets
/// [`crate::ErrorKind::ResourceExhausted`] once with the number it missed, then goes on.
pub type EventReceiver = tokio::sync::mpsc::Receiver<Result<Arc<Event>>>;

/// Facts about node and engine, for `docker info` and CRI `Status`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EngineInfo {
    /// Made at the first start, kept for ever.
    pub daemon_id: String,
    /// Node name.
    pub hostname: String,
    /// Number of CPUs.
    pub cpus: usize,
    /// Bytes.
    pub memory_bytes: u64,
    /// `uname -r`.
    pub kernel: String,
    /// `PRETTY_NAME` of os-release.
    pub operating_system: String,
    /// `x86_64`.
    pub architecture: String,
    /// 1 or 2.
    pub cgroup_version: u8,
    /// Names of runtime handlers.
    pub runtimes: Vec<String>,
    /// Things a user should know: a missing capability or controller.
    pub warnings: Vec<String>,
    /// `(name, ready, reason)`: RuntimeReady, NetworkReady.
    pub conditions: Vec<(String, bool, String)>,
}

/// What `create_container` made.
#[derive(Debug, Clone)]
pub struct CreatedContainer {
    /// The container.
    pub container: ContainerHandle,
    /// Things the user should know.
    pub warnings: Vec<String>,
}

fn unbuilt<T>(what: &str) -> Result<T> {
    Err(Error::not_implemented(format!("{what} is not built")))
}

impl Engine {
    /// Takes the lock on the root, opens the stores, recovers what was there and starts the drivers.
    ///
    /// # Errors
    /// `Conflict` when another daemon uses the same root or run directory.
    pub async fn open(config: EngineConfig) -> Result<Self> {
        Ok(Self { config: Arc::new(config) })
    }
    /// Flushes and stops. Containers go on.
    pub async fn close(&self) {}
    /// The configuration.
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }
    /// The images of both doors.
    pub fn images(&self) -> &crate::image::Images {
        unreachable!("no engine is opened before its stores are")
    }
    /// The networks of both doors.
    pub fn networks(&self) -> &crate::network::Networks {
        unreachable!("no engine is opened before its stores are")
    }
    /// The volumes of both doors.
    pub fn volumes(&self) -> &crate::volume::Volumes {
        unreachable!("no engine is opened before its stores are")
    }
    /// Facts.
    pub fn info(&self) -> EngineInfo {
        EngineInfo::default()
    }
    /// Makes a container (record, writable layer, volumes); nothing runs yet.
    ///
    /// # Errors
    /// `InvalidArgument`, `NotFound` (image, sandbox, network), `AlreadyExists` (name).
    pub async fn create_container(&self, _spec: ContainerSpec) -> Result<CreatedContainer> {
        unbuilt("creating a container")
    }
    /// By id, unique id prefix or name (with or without leading slash). Names are looked up among `docker` first.
    ///
    /// # Errors
    /// `NotFound` `No such container: X`; `InvalidArgument` for an ambiguous prefix.
    pub fn container(&self, name: &str) -> Result<ContainerHandle> {
        Err(Error::not_found(format!("No such container: {name}")))
    }
    /// All containers of both doors, newest first. From memory.
    pub fn containers(&self) -> Vec<Arc<ContainerView>> {
        Vec::new()
    }
    /// Makes and starts a sandbox (CRI RunPodSandbox).
    ///
    /// # Errors
    /// As [`Engine::create_container`].
    pub async fn run_sandbox(&self, _spec: SandboxSpec) -> Result<SandboxHandle> {
        unbuilt("running a sandbox")
    }
    /// By id, unique id prefix or name.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn sandbox(&self, name: &str) -> Result<SandboxHandle> {
        Err(Error::not_found(format!("No such sandbox: {name}")))
    }
    /// All sandboxes (also docker containers' own), newest first. From memory.
    pub fn sandboxes(&self) -> Vec<Arc<SandboxView>> {
        Vec::new()
    }
    /// By exec id.
    ///
    /// # Errors
    /// `NotFound` `No such exec instance: X`.
    pub fn exec(&self, id: &str) -> Result<ExecHandle> {
        Err(Error::not_found(format!("No such exec instance: {id}")))
    }
    /// Events from `since_ns` (ns since 1970; `None` = only new ones) on: those kept, then those that come.
    pub fn events(&self, _since_ns: Option<i64>) -> EventReceiver {
        tokio::sync::mpsc::channel(1).1
    }
    /// The sequence number of the newest event.
    pub fn event_seq(&self) -> u64 {
        0
    }
    /// Removes all stopped docker containers that `wanted` accepts; returns their ids and the bytes freed.
    ///
    /// # Errors
    /// The first removal that fails; those before it stay removed.
    pub async fn prune_containers(
        &self,
        _wanted: impl Fn(&ContainerView) -> bool + Send,
    ) -> Result<(Vec<ContainerId>, u64)> {
        unbuilt("pruning containers")
    }
}

/// A container to call.
#[derive(Debug, Clone)]
pub struct ContainerHandle {
    id: ContainerId,
}

impl ContainerHandle {
    /// Its id.
    pub fn id(&self) -> &ContainerId {
        &self.id
    }
    /// Its newest view. From memory, never waits.
    pub fn view(&self) -> Arc<ContainerView> {
        unreachable!("no handle is made before the engine makes containers")
    }
    /// Starts it. Its sandbox is brought up if it is its own.
    ///
    /// # Errors
    /// `NotModified` when it runs; an error with `exit_code` 126/127 when its program cannot be executed.
    pub async fn start(&self) -> Result<()> {
        unbuilt("start")
    }
    /// Asks it to end with its stop signal (or `signal`), kills it after `grace` (default: its own, then 10 s).
    ///
    /// # Errors
    /// `NotModified` when it does not run.
    pub async fn stop(&self, _grace: Option<Duration>, _signal: Option<&str>) -> Result<()> {
        unbuilt("stop")
    }
    /// Sends a signal (name or number).
    ///
    /// # Errors
    /// `Conflict` `container X is not running`; `InvalidArgument` for an unknown signal.
    pub async fn kill(&self, _signal: &str) -> Result<()> {
        unbuilt("kill")
    }
    /// Stops and starts.
    ///
    /// # Errors
    /// As `stop` and `start`, without `NotModified`.
    pub async fn restart(&self, _grace: Option<Duration>, _signal: Option<&str>) -> Result<()> {
        unbuilt("restart")
    }
    /// Freezes it.
    ///
    /// # Errors
    /// `Conflict` when it does not run or is paused.
    pub async fn pause(&self) -> Result<()> {
        unbuilt("pause")
    }
    /// Thaws it.
    ///
    /// # Errors
    /// `Conflict` when it is not paused.
    pub async fn unpause(&self) -> Result<()> {
        unbuilt("unpause")
    }
    /// Removes it; `caller` is the door that asks.
    ///
    /// # Errors
    /// `Conflict` when it runs and `force` is not set; `Forbidden` when the other door owns it and `force` is not set.
    pub async fn remove(&self, _caller: Owner, _options: RemoveOptions) -> Result<()> {
        unbuilt("remove")
    }
    /// Gives it another name.
    ///
    /// # Errors
    /// `AlreadyExists`, `InvalidArgument`.
    pub async fn rename(&self, _name: &str) -> Result<()> {
        unbuilt("rename")
    }
    /// Changes limits (only those that are set) and, if given, the restart policy; live.
    ///
    /// # Errors
    /// `InvalidArgument` naming the field; nothing is changed then.
    pub async fn update(&self, _resources: Resources, _restart: Option<crate::spec::RestartPolicy>) -> Result<()> {
        unbuilt("update")
    }
    /// Sets the terminal's size.
    ///
    /// # Errors
    /// `Conflict` when it does not run.
    pub async fn resize(&self, _height: u16, _width: u16) -> Result<()> {
        unbuilt("resize")
    }
    /// Begins to wait at once (before it returns); the future ends when the condition holds.
    pub fn wait(&self, _condition: WaitCondition) -> impl Future<Output = Result<WaitOutcome>> + Send + 'static {
        async { unbuilt("wait") }
    }
    /// Connects to the first process. On a created container it connects before the start, so that nothing is missed.
    ///
    /// # Errors
    /// `Conflict` when paused or being removed.
    pub async fn attach(&self, _options: AttachOptions) -> Result<AttachedIo> {
        unbuilt("attach")
    }
    /// Reads its log.
    ///
    /// # Errors
    /// `NotImplemented` `configured logging driver does not support reading`.
    pub async fn logs(&self, _options: LogOptions) -> Result<LogReceiver> {
        unbuilt("logs")
    }
    /// Makes an exec; nothing runs yet.
    ///
    /// # Errors
    /// `Conflict` `container X is not running` / `is paused`.
    pub async fn exec(&self, _spec: ExecSpec) -> Result<ExecHandle> {
        unbuilt("exec")
    }
    /// Runs a command to its end (CRI ExecSync). At the deadline it is killed: `DeadlineExceeded`.
    ///
    /// # Errors
    /// As [`ContainerHandle::exec`].
    pub async fn exec_sync(&self, _args: Vec<String>, _timeout: Option<Duration>) -> Result<ExecOutput> {
        unbuilt("exec")
    }
    /// One sample of its use.
    ///
    /// # Errors
    /// `Conflict` when it does not run.
    pub async fn stats(&self) -> Result<StatsSample> {
        unbuilt("stats")
    }
    /// Its processes, read from /proc; `ps_args` as docker's (`-ef`, `aux`, `-o pid,cmd`).
    ///
    /// # Errors
    /// `Conflict` when it does not run; `InvalidArgument` for unknown columns.
    pub async fn top(&self, _ps_args: &str) -> Result<TopTable> {
        unbuilt("top")
    }
    /// Opens the log file anew after someone moved it (CRI ReopenContainerLog).
    ///
    /// # Errors
    /// `Conflict` when it does not run.
    pub async fn reopen_log(&self) -> Result<()> {
        unbuilt("reopening the log")
    }
}

/// An exec to call.
#[derive(Debug, Clone)]
pub struct ExecHandle {
    id: ExecId,
}

impl ExecHandle {
    /// Its id.
    pub fn id(&self) -> &ExecId {
        &self.id
    }
    /// Its view.
    pub fn view(&self) -> ExecView {
        unreachable!("no handle is made before the engine makes execs")
    }
    /// Starts it with its streams connected.
    ///
    /// # Errors
    /// `Conflict` `Exec command X has already run`; an error with `exit_code` 126/127.
    pub async fn start(&self, _console_size: Option<(u16, u16)>) -> Result<AttachedIo> {
        unbuilt("exec start")
    }
    /// Starts it with nothing connected.
    ///
    /// # Errors
    /// As `start`.
    pub async fn start_detached(&self) -> Result<()> {
        unbuilt("exec start")
    }
    /// Sets its terminal's size.
    ///
    /// # Errors
    /// `Conflict` when it does not run.
    pub async fn resize(&self, _height: u16, _width: u16) -> Result<()> {
        unbuilt("exec resize")
    }
    /// Waits for its end.
    ///
    /// # Errors
    /// `Internal` when its exit code is lost.
    pub async fn wait(&self) -> Result<i32> {
        unbuilt("exec wait")
    }
}

/// A sandbox to call.
#[derive(Debug, Clone)]
pub struct SandboxHandle {
    id: SandboxId,
}

impl SandboxHandle {
    /// Its id.
    pub fn id(&self) -> &SandboxId {
        &self.id
    }
    /// Its newest view. From memory, never waits.
    pub fn view(&self) -> Arc<SandboxView> {
        unreachable!("no handle is made before the engine makes sandboxes")
    }
    /// Stops its containers and takes its network down. Idempotent.
    ///
    /// # Errors
    /// What could not be undone; it is tried again by the next call and by the engine itself.
    pub async fn stop(&self) -> Result<()> {
        unbuilt("stopping a sandbox")
    }
    /// Stops it, removes its containers and itself. Idempotent for CRI: a missing sandbox is a door's affair.
    ///
    /// # Errors
    /// As `stop`; `Forbidden` when the other door owns it and `force` is not set.
    pub async fn remove(&self, _caller: Owner, _force: bool) -> Result<()> {
        unbuilt("removing a sandbox")
    }
}
