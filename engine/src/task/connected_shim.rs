//! A shim over ttrpc: typed calls, its errors as the engine's.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use shim_api::attach::AttachRequest;
use shim_api::bundle::ShimBundle;
use shim_api::options::{
    self, CGROUP_STATS_URL, EXEC_OPTIONS_URL, ExecOptions, OCI_RESOURCES_URL, SANDBOX_OPTIONS_URL, START_FAILURE_URL,
    SandboxNamespaces, SandboxOptions, StartFailure, TASK_OPTIONS_URL,
};
use shim_api::proto::{sandbox, task::v3, types};
use shim_api::sandbox::SandboxClient;
use shim_api::task::TaskClient;
use shim_api::ttrpc::{self, Code};

use crate::error::{Error, ErrorKind, Result};
use crate::id::{ContainerId, SandboxId};
use crate::task::attach::{AttachEnds, relay};
use crate::task::shim_process::ShimProcess;
use crate::task::{AttachWish, NewTask, ProcessExit, ProcessRef, Shim};

/// A connected shim.
#[derive(Debug)]
pub(crate) struct ConnectedShim {
    pub(crate) sandbox: SandboxId,
    pub(crate) process: ShimProcess,
    pub(crate) netns: Option<u32>,
    pub(crate) bundle: ShimBundle,
    pub(crate) task: TaskClient,
    pub(crate) pod: SandboxClient,
    pub(crate) call_max: Duration,
    pub(crate) cgroup_driver: crate::config::CgroupDriver,
}

/// The engine's error for what a shim answered; `what` says what was asked.
pub(crate) fn from_shim(what: &str, error: &ttrpc::Error) -> Error {
    let kind = match error.code {
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::AlreadyExists,
        Code::InvalidArgument => ErrorKind::InvalidArgument,
        Code::FailedPrecondition => ErrorKind::Conflict,
        Code::DeadlineExceeded => ErrorKind::DeadlineExceeded,
        Code::Unavailable => ErrorKind::Unavailable,
        Code::ResourceExhausted => ErrorKind::ResourceExhausted,
        Code::Unimplemented => ErrorKind::NotImplemented,
        Code::PermissionDenied => ErrorKind::Forbidden,
        _ => ErrorKind::Internal,
    };
    let mut mapped = Error::new(kind, format!("{what}: {}", error.message));
    if let Some(failure) = start_failure(error) {
        mapped = mapped.with_exit_code(i32::try_from(failure.exit_code).unwrap_or(128));
    }
    mapped
}

fn start_failure(error: &ttrpc::Error) -> Option<StartFailure> {
    error.detail(START_FAILURE_URL)
}

/// Takes a ttrpc answer over with what was asked.
fn told<T>(what: &str, answer: std::result::Result<T, ttrpc::Error>) -> Result<T> {
    answer.map_err(|error| from_shim(what, &error))
}

impl ConnectedShim {
    async fn write_config(&self, task: &NewTask) -> Result<std::path::PathBuf> {
        let bundle = self.bundle.container(task.container.as_str());
        let named = |e: std::io::Error| Error::from(e).context(format!("write {}", bundle.config().display()));
        // Small files on a tmpfs: not worth a hop to another thread.
        make_private_dir(bundle.folder()).map_err(named)?;
        make_private_dir(&bundle.folder().join("rootfs")).map_err(named)?;
        std::fs::write(bundle.config(), &task.spec).map_err(named)?;
        Ok(bundle.folder().to_owned())
    }
}

fn make_private_dir(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[async_trait]
impl Shim for ConnectedShim {
    fn pid(&self) -> u32 {
        self.process.pid()
    }
    fn netns_path(&self) -> String {
        self.netns.map(|fd| format!("/proc/{}/fd/{fd}", self.process.pid())).unwrap_or_default()
    }
    async fn hold(&self, wanted: SandboxOptions) -> Result<SandboxNamespaces> {
        let packed = told("create sandbox", options::to_any(SANDBOX_OPTIONS_URL, &wanted))?;
        let request = sandbox::CreateSandboxRequest {
            sandbox_id: self.sandbox.to_string(),
            bundle_path: self.bundle.folder().to_string_lossy().into_owned(),
            options: Some(packed),
            ..Default::default()
        };
        told("create sandbox", self.pod.create(&request).await)?;
        let (_, held) = told("start sandbox", self.pod.start(self.sandbox.as_str()).await)?;
        Ok(held)
    }
    async fn create(&self, task: NewTask) -> Result<u32> {
        let bundle = self.write_config(&task).await?;
        let mount = |m: &crate::snapshot::Mount| types::Mount {
            r#type: m.kind.clone(),
            source: m.source.clone(),
            options: m.options.clone(),
            ..Default::default()
        };
        let request = v3::CreateTaskRequest {
            id: task.container.to_string(),
            bundle: bundle.to_string_lossy().into_owned(),
            rootfs: task.rootfs.iter().map(mount).collect(),
            terminal: task.terminal,
            options: Some(told("create task", options::to_any(TASK_OPTIONS_URL, &task.options))?),
            ..Default::default()
        };
        let answer = self.task.create(&request).await;
        Ok(told("failed to create task for container", answer)?.pid)
    }
    async fn exec(&self, process: &ProcessRef, terminal: bool, wanted: ExecOptions) -> Result<()> {
        let request = v3::ExecProcessRequest {
            id: process.container.to_string(),
            exec_id: process.exec_id(),
            terminal,
            spec: Some(told("exec", options::to_any(EXEC_OPTIONS_URL, &wanted))?),
            ..Default::default()
        };
        told("OCI runtime exec failed", self.task.exec(&request).await)
    }
    async fn start(&self, process: &ProcessRef) -> Result<u32> {
        let request = v3::StartRequest { id: process.container.to_string(), exec_id: process.exec_id() };
        let what =
            if process.exec.is_some() { "OCI runtime exec failed" } else { "failed to start task for container" };
        Ok(told(what, self.task.start(&request).await)?.pid)
    }
    async fn wait(&self, process: &ProcessRef) -> Result<ProcessExit> {
        let request = v3::WaitRequest { id: process.container.to_string(), exec_id: process.exec_id() };
        let answer = told("wait", self.task.wait(&request).await)?;
        Ok(ProcessExit {
            code: i32::try_from(answer.exit_status).unwrap_or(i32::MAX),
            at_ns: answer.exited_at.as_ref().map_or_else(shim_api::time::now_unix_ns, shim_api::time::from_timestamp),
            oom_killed: answer.oom_killed,
            error: String::new(),
        })
    }
    async fn kill(&self, process: &ProcessRef, signal: u32, all: bool) -> Result<()> {
        let request = v3::KillRequest { id: process.container.to_string(), exec_id: process.exec_id(), signal, all };
        told("kill", self.task.kill(&request).await)
    }
    async fn delete(&self, process: &ProcessRef) -> Result<()> {
        let request = v3::DeleteRequest { id: process.container.to_string(), exec_id: process.exec_id() };
        match self.task.delete(&request).await {
            Err(error) if error.code == Code::NotFound => Ok(()),
            answer => told("delete task", answer).map(|_| ()),
        }
    }
    async fn pause(&self, container: &ContainerId) -> Result<()> {
        told("pause", self.task.pause(&v3::PauseRequest { id: container.to_string() }).await)
    }
    async fn resume(&self, container: &ContainerId) -> Result<()> {
        told("resume", self.task.resume(&v3::ResumeRequest { id: container.to_string() }).await)
    }
    async fn update(&self, container: &ContainerId, resources: Vec<u8>) -> Result<()> {
        let resources = shim_api::Any { type_url: OCI_RESOURCES_URL.to_owned(), value: resources };
        let request =
            v3::UpdateTaskRequest { id: container.to_string(), resources: Some(resources), ..Default::default() };
        told("update", self.task.update(&request).await)
    }
    async fn stats(&self, container: &ContainerId) -> Result<Vec<u8>> {
        let answer = told("stats", self.task.stats(&v3::StatsRequest { id: container.to_string() }).await)?;
        match answer.stats {
            Some(any) if any.type_url == CGROUP_STATS_URL => Ok(any.value),
            Some(any) => Err(Error::not_implemented(format!("statistics of the form {}", any.type_url))),
            None => Err(Error::internal("the shim sent no statistics")),
        }
    }
    async fn pids(&self, container: &ContainerId) -> Result<Vec<u32>> {
        let answer = told("pids", self.task.pids(&v3::PidsRequest { id: container.to_string() }).await)?;
        Ok(answer.processes.into_iter().map(|process| process.pid).collect())
    }
    async fn resize(&self, process: &ProcessRef, height: u16, width: u16) -> Result<()> {
        let request = v3::ResizePtyRequest {
            id: process.container.to_string(),
            exec_id: process.exec_id(),
            width: u32::from(width),
            height: u32::from(height),
        };
        told("resize", self.task.resize_pty(&request).await)
    }
    async fn reopen_log(&self, container: &ContainerId) -> Result<()> {
        told("reopen log", self.task.reopen_log(container.as_str()).await)
    }
    async fn attach(&self, process: &ProcessRef, wish: AttachWish, ends: AttachEnds) -> Result<()> {
        let request = AttachRequest {
            id: process.container.to_string(),
            exec_id: process.exec_id(),
            stdin: wish.stdin,
            stdout: wish.stdout,
            stderr: wish.stderr,
        };
        let socket = self.bundle.attach_socket();
        let connected = tokio::time::timeout(self.call_max, shim_api::attach::attach(&socket, &request)).await;
        let (reader, writer) = match connected {
            Ok(Ok(halves)) => halves,
            Ok(Err(error)) => return Err(Error::from(error).context(format!("attach to {}", process.container))),
            Err(_elapsed) => {
                let what = format!("attach to {}: no answer within {:?}", process.container, self.call_max);
                return Err(Error::new(ErrorKind::DeadlineExceeded, what));
            }
        };
        relay(ends, wish, reader, writer);
        Ok(())
    }
    async fn has_ended(&self, process: &ProcessRef) -> Result<Option<bool>> {
        let request = v3::StateRequest { id: process.container.to_string(), exec_id: process.exec_id() };
        match self.task.state(&request).await {
            Err(error) if error.code == Code::NotFound => Ok(None),
            answer => {
                use shim_api::proto::v1::types::Status;
                Ok(Some(told("state", answer)?.status() == Status::Stopped))
            }
        }
    }
    async fn shutdown(&self, pod: bool) -> Result<()> {
        if pod {
            match self.pod.stop(self.sandbox.as_str(), 0).await {
                Err(error) if !matches!(error.code, Code::NotFound | Code::Unavailable) => {
                    return Err(from_shim("stop the sandbox", &error));
                }
                _ => {}
            }
        }
        let request = v3::ShutdownRequest { id: self.sandbox.to_string(), now: true };
        let answered = match self.task.shutdown(&request).await {
            Ok(()) => true,
            // It may end before its answer is out; or it was gone before it was asked, and its containers are not.
            Err(error) if error.code == Code::Unavailable => false,
            Err(error) => return Err(from_shim("shut the shim down", &error)),
        };
        // The next shim of this sandbox takes the same bundle: it is free when this one has ended, not when it answered.
        self.process.end().await;
        if !answered {
            crate::task::shim_launch::kill_orphans(&self.bundle, self.cgroup_driver).await;
        }
        crate::task::shim_launch::remove_bundle(self.bundle.folder()).await
    }
    async fn closed(&self) {
        // Answers when the sandbox is stopped or the connection breaks; both mean that it holds nothing any more.
        if let Err(error) = self.pod.wait(self.sandbox.as_str()).await {
            tracing::debug!(sandbox = %self.sandbox, %error, "the wait for the shim has ended");
        }
    }
}
