//! Starting a shim, finding it again, and removing what one left behind.
//!
//! The engine makes the bundle and the listening socket itself and hands it over as descriptor 3 (the network namespace
//! as 4): a call can be sent before the shim has even begun, and a shim that dies closes the connection.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shim_api::bundle::{ContainerBundle, OtherShim, ShimBundle};
use shim_api::proto::task::v3;
use shim_api::sandbox::SandboxClient;
use shim_api::task::{TaskClient, TaskVersion};
use shim_api::ttrpc::{Client, Code};
use shim_api::unix_path;
use sys::spawn::Program;

use crate::config::{CgroupDriver, EngineConfig, RuntimeConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::id::SandboxId;
use crate::task::connected_shim::{ConnectedShim, from_shim};
use crate::task::shim_process::ShimProcess;
use crate::task::{ProcessExit, ProcessRef, Shim, ShimLaunch, TaskRuntime};

/// Number under which a shim gets its listening socket.
const FD_LISTENER: i32 = 3;
/// Number under which a shim gets its network namespace.
const FD_NETNS: u32 = 4;
/// How long a shim that is swept may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// Tries to remove a bundle that a shim still writes into.
const REMOVE_TRIES_MAX: u32 = 20;
const SIGKILL: i32 = 9;
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
            Some(_) => Ok(()),
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

    async fn connect(&self, sandbox: &SandboxId, process: ShimProcess, netns: Option<u32>) -> Result<ConnectedShim> {
        let bundle = self.bundle(sandbox);
        let client = Client::connect(&bundle.socket()).await.map_err(|e| {
            let last_words = tail(&bundle.log());
            let error = from_shim("connect to the shim", &e);
            if last_words.is_empty() { error } else { error.context(format!("the shim said: {last_words}")) }
        })?;
        Ok(ConnectedShim {
            sandbox: sandbox.clone(),
            process,
            netns,
            bundle,
            task: TaskClient::new(client.clone(), TaskVersion::V3, self.call_max),
            pod: SandboxClient::new(client, self.call_max),
            call_max: self.call_max,
            cgroup_driver: self.cgroup_driver,
        })
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
        // Not reaped yet, so the number is still this child's.
        let process = ShimProcess::open(pid).map_err(|e| Error::internal("open the shim's process").with_source(e))?;
        reap_later(&process);
        match self.connect(&sandbox, process.clone(), netns).await {
            Ok(shim) => Ok(Arc::new(shim)),
            Err(error) => {
                // Without a connection it cannot be asked.
                process.kill().await;
                Err(error)
            }
        }
    }

    async fn reconnect(&self, sandbox: &SandboxId, pid: u32) -> Result<Option<Arc<dyn Shim>>> {
        if !self.bundle(sandbox).socket().exists() {
            return Ok(None);
        }
        let bundle = self.bundle(sandbox);
        // The number may be somebody else's by now, or never have been stored.
        let recorded = i32::try_from(pid).ok().and_then(|pid| shim_process(pid, sandbox, &bundle));
        let Some(process) = recorded.or_else(|| shim_processes(sandbox, &bundle).into_iter().next()) else {
            return Ok(None);
        };
        let pid = process.pid();
        let netns = std::fs::symlink_metadata(format!("/proc/{pid}/fd/{FD_NETNS}")).is_ok().then_some(FD_NETNS);
        match self.connect(sandbox, process, netns).await {
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
        let processes = {
            let (id, bundle) = (sandbox.clone(), bundle.clone());
            let found = tokio::task::spawn_blocking(move || shim_processes(&id, &bundle)).await;
            found.map_err(|e| Error::internal("find the shims of a sandbox").with_source(e))?
        };
        if !processes.is_empty() {
            let asked = ask_to_end(sandbox, &bundle).await;
            for process in processes {
                if asked { process.end().await } else { process.kill().await }
            }
        }
        kill_orphans(&bundle, self.cgroup_driver).await;
        remove_bundle(bundle.folder()).await
    }
}

/// Ends the processes of containers whose shim is gone, by their cgroups.
pub(crate) async fn kill_orphans(bundle: &ShimBundle, driver: CgroupDriver) {
    let (folder, sandbox) = (bundle.folder().to_owned(), bundle.cgroup());
    let work = move || {
        if let Ok(path) = std::fs::read_to_string(&sandbox)
            && let Err(error) = end_cgroup(driver, &path)
        {
            tracing::warn!(cgroup = path, %error, "the init of a sandbox could not be ended");
        }
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            end_other_shim(&ContainerBundle::at(entry.path()));
            let Some(path) = cgroup_of(&entry.path().join("config.json")) else { continue };
            if let Err(error) = end_cgroup(driver, &path) {
                tracing::warn!(cgroup = path, %error, "processes without a shim could not be ended");
            }
        }
    };
    if let Err(error) = tokio::task::spawn_blocking(work).await {
        tracing::warn!(%error, "processes without a shim could not be ended");
    }
}

/// Ends the shim of another's that ran a container for a shim of ours that is gone.
fn end_other_shim(bundle: &ContainerBundle) {
    let Ok(text) = std::fs::read(bundle.other_shim()) else { return };
    let Ok(other) = serde_json::from_slice::<OtherShim>(&text) else { return };
    // The descriptor first: what it holds cannot become another process while its command line is read.
    let process = (other.pid > 1).then(|| sys::pidfd::PidFd::open(other.pid).ok()).flatten();
    let line = std::fs::read(format!("/proc/{}/cmdline", other.pid)).unwrap_or_default();
    let id = bundle.folder().file_name().map(std::ffi::OsStr::as_bytes).unwrap_or_default();
    if let Some(process) = process.filter(|_| line.split(|b| *b == 0).any(|word| word == id))
        && let Err(error) = process.send_signal(SIGKILL)
    {
        tracing::warn!(pid = other.pid, %error, "the shim that ran a container cannot be ended");
    }
    match std::fs::remove_file(&other.socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(socket = %other.socket.display(), %error, "the socket of a shim cannot be removed");
        }
        _ => {}
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

/// Asks whatever shim listens in `bundle` to end; whether it took that.
async fn ask_to_end(sandbox: &SandboxId, bundle: &ShimBundle) -> bool {
    let Ok(client) = Client::connect(&bundle.socket()).await else { return false };
    let task = TaskClient::new(client, TaskVersion::V3, ANSWER_WAIT);
    match task.shutdown(&v3::ShutdownRequest { id: sandbox.to_string(), now: true }).await {
        // It may end before its answer is out.
        Err(error) if error.code != Code::Unavailable => {
            tracing::debug!(%sandbox, %error, "a shim that is swept does not answer");
            false
        }
        _ => true,
    }
}

/// Collects a shim's exit status when it ends, so that it leaves no zombie.
fn reap_later(process: &ShimProcess) {
    let process = process.clone();
    tokio::spawn(async move {
        if let Err(error) = process.ended().await.and_then(|()| process.reap()) {
            tracing::debug!(pid = process.pid(), %error, "a shim could not be reaped");
        }
    });
}

/// The shims that serve `sandbox` from this bundle, told by their command line: one, unless an engine was cut off.
fn shim_processes(sandbox: &SandboxId, bundle: &ShimBundle) -> Vec<ShimProcess> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| shim_process(pid, sandbox, bundle)).collect()
}

/// The process of this number, if it is a shim that serves `sandbox` from this bundle.
fn shim_process(pid: i32, sandbox: &SandboxId, bundle: &ShimBundle) -> Option<ShimProcess> {
    // The descriptor first: what it holds cannot become another process while its command line is read.
    let process = ShimProcess::open(pid).ok()?;
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<&[u8]> = line.split(|b| *b == 0).collect();
    let option = |name: &[u8], value: &[u8]| words.windows(2).any(|w| w[0] == name && w[1] == value);
    let ours = words.contains(&b"serve".as_slice())
        && option(b"--id", sandbox.as_str().as_bytes())
        && option(b"--bundle", bundle.folder().as_os_str().as_bytes());
    ours.then_some(process)
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
