//! Starting a shim, finding it again, and removing what one left behind.
//!
//! The engine makes the bundle and the listening socket itself and hands it over as descriptor 3 (the network namespace
//! as 4): a call can be sent before the shim has even begun, and a shim that dies closes the connection.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shim_api::bundle::ShimBundle;
use shim_api::proto::task::v3;
use shim_api::sandbox::SandboxClient;
use shim_api::task::{TaskClient, TaskVersion};
use shim_api::ttrpc::Client;
use shim_api::unix_path;
use sys::pidfd::PidFd;
use sys::spawn::Program;

use crate::config::{CgroupDriver, EngineConfig, RuntimeConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::id::SandboxId;
use crate::readiness::readable;
use crate::task::connected_shim::{ConnectedShim, from_shim};
use crate::task::{ProcessExit, ProcessRef, Shim, ShimLaunch, TaskRuntime};

/// Number under which a shim gets its listening socket.
const FD_LISTENER: i32 = 3;
/// Number under which a shim gets its network namespace.
const FD_NETNS: u32 = 4;
/// How long a shim that is swept may take to end when asked.
const SWEEP_WAIT: Duration = Duration::from_secs(2);
/// Tries to remove a bundle that a shim still writes into.
const REMOVE_TRIES_MAX: u32 = 20;
/// Bytes of a shim's log that are shown when it fails.
const LOG_SHOWN_BYTES: u64 = 2048;

/// Our own shim, one process for each sandbox.
#[derive(Debug)]
pub(crate) struct ShimRuntime {
    run: PathBuf,
    program: PathBuf,
    runtimes: std::collections::BTreeMap<String, RuntimeConfig>,
    cgroup_driver: CgroupDriver,
    call_max: Duration,
}

impl ShimRuntime {
    /// As configured.
    pub(crate) fn new(config: &EngineConfig) -> Self {
        Self {
            run: config.run.clone(),
            program: config.shim.clone(),
            runtimes: config.runtimes.clone(),
            cgroup_driver: config.cgroup_driver,
            call_max: config.limits.shim_call(),
        }
    }

    fn bundle(&self, sandbox: &SandboxId) -> ShimBundle {
        ShimBundle::new(&self.run, sandbox.as_str())
    }

    fn check_handler(&self, runtime: &str) -> Result<()> {
        match self.runtimes.get(runtime) {
            Some(RuntimeConfig::Builtin | RuntimeConfig::Oci { .. }) => Ok(()),
            Some(RuntimeConfig::Shim { path }) => Err(Error::not_implemented(format!(
                "runtime {runtime:?}: running another shim ({}) is not built",
                path.display()
            ))),
            None => Err(Error::invalid(format!("unknown or invalid runtime name: {runtime}"))),
        }
    }

    /// Makes the bundle and its socket and starts the program. Answers its pid.
    fn spawn(&self, launch: ShimLaunch) -> Result<i32> {
        let bundle = self.bundle(&launch.sandbox);
        let named = |e: std::io::Error| Error::from(e).context(format!("make {}", bundle.folder().display()));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(bundle.folder()).map_err(named)?;
        let listener = unix_path::listen(&bundle.socket())?;
        let log =
            std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(bundle.log()).map_err(named)?;
        let mut program = Program::new(&self.program)
            .args(["serve", "--id", launch.sandbox.as_str(), "--bundle"])
            .arg(bundle.folder())
            .stderr(OwnedFd::from(log))
            .hand(FD_LISTENER, OwnedFd::from(listener))
            .new_session();
        if let Some(path) = std::env::var_os("PATH") {
            program = program.env("PATH", path);
        }
        if let Some(netns) = launch.netns {
            program = program.hand(i32::try_from(FD_NETNS).unwrap_or(4), netns);
        }
        program.start().map_err(|e| {
            drop(std::fs::remove_dir_all(bundle.folder()));
            Error::new(ErrorKind::Unavailable, "the shim cannot be started").with_source(e)
        })
    }

    async fn connect(&self, sandbox: &SandboxId, pid: u32, netns: Option<u32>) -> Result<ConnectedShim> {
        let bundle = self.bundle(sandbox);
        let client = Client::connect(&bundle.socket()).await.map_err(|e| {
            let last_words = tail(&bundle.log());
            let error = from_shim("connect to the shim", &e);
            if last_words.is_empty() { error } else { error.context(format!("the shim said: {last_words}")) }
        })?;
        Ok(ConnectedShim {
            sandbox: sandbox.clone(),
            pid,
            netns,
            bundle,
            task: TaskClient::new(client.clone(), TaskVersion::V3, self.call_max),
            pod: SandboxClient::new(client, self.call_max),
            call_max: self.call_max,
        })
    }

    /// Ends the processes of containers whose shim is gone, by their cgroups.
    fn kill_orphans(&self, bundle: &ShimBundle) {
        let Ok(entries) = std::fs::read_dir(bundle.folder()) else { return };
        for entry in entries.flatten() {
            let Some(path) = cgroup_of(&entry.path().join("config.json")) else { continue };
            if let Err(error) = end_cgroup(self.cgroup_driver, &path) {
                tracing::warn!(cgroup = path, %error, "processes without a shim could not be ended");
            }
        }
    }
}

#[async_trait]
impl TaskRuntime for ShimRuntime {
    #[tracing::instrument(level = "debug", skip_all)]
    async fn launch(&self, launch: ShimLaunch) -> Result<Arc<dyn Shim>> {
        self.check_handler(&launch.runtime)?;
        let netns = launch.netns.is_some().then_some(FD_NETNS);
        let sandbox = launch.sandbox.clone();
        let pid = self.spawn(launch)?;
        reap_later(pid);
        let pid = u32::try_from(pid).map_err(|_| Error::internal("a negative process id"))?;
        Ok(Arc::new(self.connect(&sandbox, pid, netns).await?))
    }

    async fn reconnect(&self, sandbox: &SandboxId, pid: u32) -> Result<Option<Arc<dyn Shim>>> {
        if !self.bundle(sandbox).socket().exists() {
            return Ok(None);
        }
        let netns = std::fs::symlink_metadata(format!("/proc/{pid}/fd/{FD_NETNS}")).is_ok().then_some(FD_NETNS);
        match self.connect(sandbox, pid, netns).await {
            Ok(shim) => Ok(Some(Arc::new(shim))),
            Err(error) if error.kind() == ErrorKind::Unavailable => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn exit_record(&self, sandbox: &SandboxId, process: &ProcessRef) -> Result<Option<ProcessExit>> {
        let bundle = self.bundle(sandbox).container(process.container.as_str());
        let record = bundle.read_exit(&process.exec_id())?;
        Ok(record.map(|record| ProcessExit {
            code: i32::try_from(record.exit_status).unwrap_or(i32::MAX),
            at_ns: record.exited_at_ns,
            oom_killed: record.oom_killed,
            error: String::new(),
        }))
    }

    fn traces(&self) -> Result<Vec<SandboxId>> {
        let dir = self.run.join("shim");
        match std::fs::read_dir(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(Error::from(error).context(format!("read {}", dir.display()))),
            Ok(entries) => Ok(entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()),
        }
    }

    async fn sweep(&self, sandbox: &SandboxId) -> Result<()> {
        let bundle = self.bundle(sandbox);
        if !bundle.folder().exists() {
            return Ok(());
        }
        if let Ok(client) = Client::connect(&bundle.socket()).await {
            let task = TaskClient::new(client, TaskVersion::V3, SWEEP_WAIT);
            let request = v3::ShutdownRequest { id: sandbox.to_string(), now: true };
            if let Err(error) = task.shutdown(&request).await {
                tracing::debug!(%sandbox, %error, "a shim that is swept does not answer");
            }
        }
        let id = sandbox.clone();
        tokio::task::spawn_blocking(move || end_by_command_line(id.as_str()))
            .await
            .map_err(|e| Error::internal("end a shim").with_source(e))?;
        self.kill_orphans(&bundle);
        remove_bundle(bundle.folder()).await
    }
}

/// Removes a bundle folder; a missing one is fine. A shim that is about to end may still write into it.
pub(crate) async fn remove_bundle(folder: &Path) -> Result<()> {
    let mut tries = 0;
    loop {
        tries += 1;
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty && tries < REMOVE_TRIES_MAX => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::from(error).context(format!("remove {}", folder.display())));
            }
            _ => return Ok(()),
        }
    }
}

/// Collects a shim's exit status when it ends, so that it leaves no zombie.
fn reap_later(pid: i32) {
    let Ok(pidfd) = PidFd::open(pid) else { return };
    tokio::spawn(async move {
        let ended = match pidfd.as_fd().try_clone_to_owned().and_then(readable) {
            Ok(fd) => fd.readable().await.map(|_| ()),
            Err(error) => Err(error),
        };
        if let Err(error) = ended.and_then(|()| pidfd.reap().map(|_| ())) {
            tracing::debug!(pid, %error, "a shim could not be reaped");
        }
    });
}

/// Ends shims of ours that serve `sandbox`, told by their command line. Blocking.
fn end_by_command_line(sandbox: &str) {
    let Ok(entries) = std::fs::read_dir("/proc") else { return };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // The descriptor first: what it holds cannot become another process while its command line is read.
        let Ok(pidfd) = PidFd::open(pid) else { continue };
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let words: Vec<&[u8]> = line.split(|b| *b == 0).collect();
        let ours = words.iter().any(|w| *w == b"serve")
            && words.windows(2).any(|w| w[0] == b"--id" && w[1] == sandbox.as_bytes());
        if !ours {
            continue;
        }
        if !pidfd.wait_end(Duration::from_millis(200)).unwrap_or(false) {
            let ended = pidfd.send_signal(9).and_then(|()| pidfd.wait_end(SWEEP_WAIT));
            tracing::warn!(pid, sandbox, ?ended, "a shim that did not end was killed");
        }
    }
}

fn cgroup_of(config: &Path) -> Option<String> {
    let text = std::fs::read(config).ok()?;
    let spec: serde_json::Value = serde_json::from_slice(&text).ok()?;
    spec.pointer("/linux/cgroupsPath")?.as_str().map(String::from)
}

fn end_cgroup(driver: CgroupDriver, path: &str) -> sys::cgroup::Result<()> {
    let driver = match driver {
        CgroupDriver::Cgroupfs => sys::cgroup::CgroupDriver::Cgroupfs,
        CgroupDriver::Systemd => sys::cgroup::CgroupDriver::Systemd,
    };
    let cgroup = sys::cgroup::Cgroup::new(driver, path)?;
    if cgroup.exists() {
        cgroup.kill_all()?;
        cgroup.remove()?;
    }
    Ok(())
}

/// The end of a shim's log, as one line.
fn tail(log: &Path) -> String {
    use std::io::{Read as _, Seek as _};
    let Ok(mut file) = std::fs::File::open(log) else { return String::new() };
    let len = file.metadata().map_or(0, |m| m.len());
    let mut text = Vec::new();
    let read = file
        .seek(std::io::SeekFrom::Start(len.saturating_sub(LOG_SHOWN_BYTES)))
        .and_then(|_| file.take(LOG_SHOWN_BYTES).read_to_end(&mut text));
    if read.is_err() {
        return String::new();
    }
    String::from_utf8_lossy(&text).trim().replace('\n', "; ")
}
