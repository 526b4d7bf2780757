//! The Task service: its two names, and a client that speaks to either.

use std::time::Duration;

use prost::Message;

use crate::proto::{gantry, task::v3};
use crate::ttrpc::{Client, Error};

/// Service name of containerd 1.x shims.
pub const SERVICE_V2: &str = "containerd.task.v2.Task";
/// Service name of containerd 2.x shims, and ours.
pub const SERVICE_V3: &str = "containerd.task.v3.Task";
/// Our own additions.
pub const SERVICE_LOGS: &str = "gantry.shim.v1.Logs";

/// Which Task service a shim serves: the `version` of its bootstrap reply (2 for a bare address).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TaskVersion {
    /// `containerd.task.v2`.
    V2,
    /// `containerd.task.v3`.
    #[default]
    V3,
}

impl TaskVersion {
    const fn service(self) -> &'static str {
        match self {
            Self::V2 => SERVICE_V2,
            Self::V3 => SERVICE_V3,
        }
    }
}

/// Typed calls to the Task service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TaskClient {
    client: Client,
    service: &'static str,
    timeout: Duration,
}

/// One method per RPC; each has the client's deadline.
macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident = $method:literal ($request:ty) -> $answer:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// What the shim answered, `DeadlineExceeded`, or `Unavailable` when it is gone.
        pub async fn $name(&self, request: &$request) -> Result<$answer, Error> {
            self.client.call(self.service, $method, request, Some(self.timeout)).await
        }
    )*};
}

impl TaskClient {
    /// A client whose calls (except [`TaskClient::wait`]) give up after `timeout`.
    #[must_use]
    pub fn new(client: Client, version: TaskVersion, timeout: Duration) -> Self {
        Self { client, service: version.service(), timeout }
    }

    /// The connection, to see whether it is closed or to call another service over it.
    #[must_use]
    pub fn connection(&self) -> &Client {
        &self.client
    }

    calls! {
        /// Makes the container's first process, held before its exec.
        create = "Create"(v3::CreateTaskRequest) -> v3::CreateTaskResponse;
        /// Lets the first process, or a process added by exec, run.
        start = "Start"(v3::StartRequest) -> v3::StartResponse;
        /// What a process is doing.
        state = "State"(v3::StateRequest) -> v3::StateResponse;
        /// Forgets a stopped process; for the first process, the container.
        delete = "Delete"(v3::DeleteRequest) -> v3::DeleteResponse;
        /// Adds a process; `start` with its `exec_id` runs it.
        exec = "Exec"(v3::ExecProcessRequest) -> ();
        /// Sets the size of a process's terminal.
        resize_pty = "ResizePty"(v3::ResizePtyRequest) -> ();
        /// Closes a process's standard input once what was written is delivered.
        close_io = "CloseIO"(v3::CloseIoRequest) -> ();
        /// Sends a signal.
        kill = "Kill"(v3::KillRequest) -> ();
        /// Process ids in the container, as the shim's PID namespace sees them.
        pids = "Pids"(v3::PidsRequest) -> v3::PidsResponse;
        /// Freezes the container.
        pause = "Pause"(v3::PauseRequest) -> ();
        /// Thaws the container.
        resume = "Resume"(v3::ResumeRequest) -> ();
        /// Changes resource limits.
        update = "Update"(v3::UpdateTaskRequest) -> ();
        /// Resource usage.
        stats = "Stats"(v3::StatsRequest) -> v3::StatsResponse;
        /// Process ids of shim and task.
        connect = "Connect"(v3::ConnectRequest) -> v3::ConnectResponse;
        /// Ends the shim if it has no task left (or `now`).
        shutdown = "Shutdown"(v3::ShutdownRequest) -> ();
        /// Writes the container's memory image.
        checkpoint = "Checkpoint"(v3::CheckpointTaskRequest) -> ();
    }

    /// Waits for the end of a process, as long as it takes.
    ///
    /// # Errors
    /// What the shim answered, or `Unavailable` when it is gone.
    pub async fn wait(&self, request: &v3::WaitRequest) -> Result<v3::WaitResponse, Error> {
        self.client.call(self.service, "Wait", request, None).await
    }

    /// Goes on in a new log file after the old one was renamed (our shim only).
    ///
    /// # Errors
    /// `Unimplemented` from another's shim; `NotFound`.
    pub async fn reopen_log(&self, id: &str) -> Result<(), Error> {
        let request = gantry::ReopenLogRequest { id: id.to_owned() };
        let _: gantry::ReopenLogResponse =
            self.client.call(SERVICE_LOGS, "Reopen", &request, Some(self.timeout)).await?;
        Ok(())
    }

    /// Any other call of the Task service.
    ///
    /// # Errors
    /// As the calls above.
    pub async fn call<Q: Message, A: Message + Default>(&self, method: &str, request: &Q) -> Result<A, Error> {
        self.client.call(self.service, method, request, Some(self.timeout)).await
    }
}
