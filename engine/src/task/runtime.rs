//! The contract between the engine and whatever runs a sandbox's processes.

use std::fmt::Debug;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use async_trait::async_trait;
use shim_api::options::{ExecOptions, SandboxNamespaces, SandboxOptions, TaskOptions};

use crate::error::Result;
use crate::id::{ContainerId, ExecId, SandboxId};
use crate::snapshot::Mount;
use crate::task::AttachEnds;

/// One process that a shim supervises: a container's first one, or an exec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessRef {
    /// The container.
    pub container: ContainerId,
    /// The exec; `None` for the first process.
    pub exec: Option<ExecId>,
}

impl ProcessRef {
    /// The first process of `container`.
    pub fn first(container: &ContainerId) -> Self {
        Self { container: container.clone(), exec: None }
    }
    /// The exec's id as the shim wants it: empty for the first process.
    pub fn exec_id(&self) -> String {
        self.exec.as_ref().map(ToString::to_string).unwrap_or_default()
    }
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessExit {
    /// Exit code, or 128 + signal.
    pub code: i32,
    /// When, ns since 1970.
    pub at_ns: i64,
    /// A process of the container was killed for its memory limit.
    pub oom_killed: bool,
    /// Why the code is not known for certain; empty when it is.
    pub error: String,
}

/// Which shim to launch.
#[derive(Debug)]
pub struct ShimLaunch {
    /// For which sandbox.
    pub sandbox: SandboxId,
    /// Name of the runtime handler.
    pub runtime: String,
    /// The sandbox's own network namespace.
    pub netns: Option<OwnedFd>,
}

/// A container's first process, to be made.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// The container.
    pub container: ContainerId,
    /// OCI runtime spec as JSON.
    pub spec: Vec<u8>,
    /// What its root file system is made of.
    pub rootfs: Vec<Mount>,
    /// A terminal.
    pub terminal: bool,
    /// Log, streams, runtime.
    pub options: TaskOptions,
}

/// Which streams to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AttachWish {
    /// Send input.
    pub stdin: bool,
    /// Receive stdout.
    pub stdout: bool,
    /// Receive stderr.
    pub stderr: bool,
}

/// Launches and finds shims.
///
/// Contract: what `launch` began is taken back with `sweep`, also after it failed; `reconnect` never launches;
/// `exit_record` reads what a shim, maybe gone, left on disk; `sweep` removes all traces of a sandbox's shim that is
/// gone, and of one that lives ends it first.
#[async_trait]
pub trait TaskRuntime: Send + Sync + Debug {
    /// Starts the shim of a sandbox.
    async fn launch(&self, launch: ShimLaunch) -> Result<Arc<dyn Shim>>;
    /// Finds the shim of a sandbox again, which had this pid; `None` when it is gone.
    async fn reconnect(&self, sandbox: &SandboxId, pid: u32) -> Result<Option<Arc<dyn Shim>>>;
    /// The exit that was recorded on disk, if it was and is not collected.
    fn exit_record(&self, sandbox: &SandboxId, process: &ProcessRef) -> Result<Option<ProcessExit>>;
    /// Sandboxes of which traces exist.
    fn traces(&self) -> Result<Vec<SandboxId>>;
    /// Ends whatever shim a sandbox has and removes its traces. Idempotent.
    async fn sweep(&self, sandbox: &SandboxId) -> Result<()>;
}

/// The shim of one sandbox. Every call but `wait` has a deadline of its own.
#[async_trait]
pub trait Shim: Send + Sync + Debug {
    /// Its process id.
    fn pid(&self) -> u32;
    /// Where a namespace descriptor that was given at launch can be joined; empty if none was.
    fn netns_path(&self) -> String;
    /// Makes the namespaces of a pod and holds them.
    async fn hold(&self, options: SandboxOptions) -> Result<SandboxNamespaces>;
    /// Makes a container's first process, held before its exec. Answers its pid.
    async fn create(&self, task: NewTask) -> Result<u32>;
    /// Makes an exec, held before its exec.
    async fn exec(&self, process: &ProcessRef, terminal: bool, options: ExecOptions) -> Result<()>;
    /// Lets a process run. Answers its pid.
    async fn start(&self, process: &ProcessRef) -> Result<u32>;
    /// Waits for a process's end, as long as it takes.
    async fn wait(&self, process: &ProcessRef) -> Result<ProcessExit>;
    /// Sends a signal to a process, or to all of the container.
    async fn kill(&self, process: &ProcessRef, signal: u32, all: bool) -> Result<()>;
    /// Forgets a process that has ended.
    async fn delete(&self, process: &ProcessRef) -> Result<()>;
    /// Freezes a container.
    async fn pause(&self, container: &ContainerId) -> Result<()>;
    /// Thaws a container.
    async fn resume(&self, container: &ContainerId) -> Result<()>;
    /// Changes limits; OCI `LinuxResources` as JSON.
    async fn update(&self, container: &ContainerId, resources: Vec<u8>) -> Result<()>;
    /// Use of a container: JSON of `sys::cgroup::CgroupStats`.
    async fn stats(&self, container: &ContainerId) -> Result<Vec<u8>>;
    /// Pids of a container on the host.
    async fn pids(&self, container: &ContainerId) -> Result<Vec<u32>>;
    /// Sets a terminal's size in characters.
    async fn resize(&self, process: &ProcessRef, height: u16, width: u16) -> Result<()>;
    /// Opens a container's log anew.
    async fn reopen_log(&self, container: &ContainerId) -> Result<()>;
    /// Connects a process's streams to `ends`; when it returns, nothing that is written later is missed.
    async fn attach(&self, process: &ProcessRef, wish: AttachWish, ends: AttachEnds) -> Result<()>;
    /// What a process does: `None` when the shim does not know it, else whether it has ended.
    async fn has_ended(&self, process: &ProcessRef) -> Result<Option<bool>>;
    /// Ends the shim, waits for its end and removes its bundle; with `pod`, what [`Shim::hold`] made and what still runs in it ends first.
    /// Otherwise its containers have been deleted before. Idempotent.
    async fn shutdown(&self, pod: bool) -> Result<()>;
    /// Returns when the shim is gone.
    async fn closed(&self);
}
