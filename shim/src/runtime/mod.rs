//! What runs containers: the built-in runtime, or an OCI runtime program, behind one trait.

pub(crate) mod builtin;
pub(crate) mod command;
pub(crate) mod other_shim;

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use shim_api::options::CgroupDriver;
use shim_api::proto::types::Mount as RootfsMount;
use sys::cgroup::{CgroupStats, Limits};
use sys::pidfd::PidFd;
use tokio::sync::oneshot;

use crate::oci::{Process, Spec};
use crate::reaper::Exit;

/// The three streams of a new process. `None` is `/dev/null`.
#[derive(Debug, Default)]
pub(crate) struct Stdio {
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
    /// They are FIFOs in this folder: `stdin`, `stdout`, `stderr`.
    pub(crate) folder: Option<PathBuf>,
}

/// What is needed to make a container.
#[derive(Debug)]
pub(crate) struct CreateRequest {
    pub(crate) id: String,
    /// Folder of `config.json`.
    pub(crate) bundle: PathBuf,
    pub(crate) spec: Rc<Spec>,
    /// How to make the root file system; empty when `root.path` holds it already.
    pub(crate) rootfs: Vec<RootfsMount>,
    pub(crate) stdio: Stdio,
    pub(crate) cgroup_driver: CgroupDriver,
    /// Size of the terminal in characters, columns first.
    pub(crate) terminal_size: Option<(u16, u16)>,
    pub(crate) no_new_keyring: bool,
    /// Put our init in front of the process.
    pub(crate) init: bool,
    /// Memory that is shared with other containers.
    pub(crate) shm: Option<SharedMemory>,
}

/// A `/dev/shm` of several containers.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    /// What the spec calls it.
    pub(crate) source: PathBuf,
    /// Detached.
    pub(crate) mount: OwnedFd,
}

/// What is needed to run one more process in a container.
#[derive(Debug)]
pub(crate) struct ExecRequest {
    pub(crate) process: Process,
    /// The same as it came, for programs that read it from a file.
    pub(crate) process_json: Vec<u8>,
    pub(crate) stdio: Stdio,
    pub(crate) terminal_size: Option<(u16, u16)>,
}

/// A process that was made.
#[derive(Debug)]
pub(crate) struct Created {
    /// Process id, as the shim sees it.
    pub(crate) pid: i32,
    /// `None` when it has ended already.
    pub(crate) pidfd: Option<PidFd>,
    /// Our end of the terminal, when one was asked for.
    pub(crate) console: Option<OwnedFd>,
    /// What went otherwise than asked, for people.
    pub(crate) warnings: Vec<String>,
    /// Another shim made it: how to reach it there, and its end.
    pub(crate) elsewhere: Option<(Rc<other_shim::Elsewhere>, oneshot::Receiver<Exit>)>,
}

/// Why a process could not be made: the step, the kernel's error, and what a command line tool reports.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) step: String,
    /// 0 when the kernel had no part in it.
    pub(crate) errno: i32,
    /// The whole sentence.
    pub(crate) message: String,
}

impl Failure {
    /// A failure of `step` that the kernel had no part in.
    pub(crate) fn new(step: &str, message: impl Into<String>) -> Self {
        Self { step: step.to_owned(), errno: 0, message: message.into() }
    }

    /// A failure of `step` by `error`, with what it was about.
    pub(crate) fn io(step: &str, about: impl fmt::Display, error: &std::io::Error) -> Self {
        Self {
            step: step.to_owned(),
            errno: error.raw_os_error().unwrap_or(0),
            message: format!("{step} {about}: {error}"),
        }
    }

    /// 127 when the program was not found, 126 when it cannot be run, else 128: docker's and shells' numbers.
    pub(crate) fn exit_code(&self) -> u32 {
        match (self.step.as_str(), self.errno) {
            ("exec", libc::ENOENT | libc::ENOTDIR) => 127,
            ("exec", _) => 126,
            _ => 128,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// The contract of an OCI runtime, proved by one suite for every implementation (`tests/runtime_suite.rs`).
///
/// A container is created (its first process waits before its exec), started once, and deleted when its first process
/// has ended. The caller reaps: exit codes do not come from here. Nothing of a container that failed to be created
/// stays. `kill`, `pause` and `resume` of a container whose processes are gone are errors; `delete` never is.
pub(crate) trait OciRuntime {
    /// Makes the container and its first process, which waits.
    async fn create(&self, request: CreateRequest) -> Result<Created>;
    /// Lets the first process run. An error means that it never ran the user's program.
    async fn start(&self, id: &str) -> Result<()>;
    /// Runs one more process.
    async fn exec(&self, id: &str, request: ExecRequest) -> Result<Created>;
    /// Sends a signal to the first process, or SIGKILL-like to all of them with `all`.
    async fn kill(&self, id: &str, signal: i32, all: bool) -> Result<()>;
    /// Freezes all processes.
    async fn pause(&self, id: &str) -> Result<()>;
    /// Thaws them.
    async fn resume(&self, id: &str) -> Result<()>;
    /// Changes resource limits.
    async fn update(&self, id: &str, limits: &Limits, limits_json: &[u8]) -> Result<()>;
    /// Resource usage.
    fn stats(&self, id: &str) -> Result<CgroupStats>;
    /// Process ids in it.
    fn pids(&self, id: &str) -> Result<Vec<i32>>;
    /// Removes what is left: remaining processes, the cgroup, hooks' leftovers.
    async fn delete(&self, id: &str) -> Result<()>;
}

/// The cgroup of a container by its spec.
pub(crate) fn cgroup_of(spec: &Spec, id: &str, driver: CgroupDriver) -> Result<sys::cgroup::Cgroup> {
    match (&*spec.linux.cgroups_path, driver) {
        ("", CgroupDriver::Systemd) => cgroup_at(&format!("system.slice:gantry:{id}"), driver),
        ("", CgroupDriver::Cgroupfs) => cgroup_at(&format!("/gantry/{id}"), driver),
        (path, _) => cgroup_at(path, driver),
    }
}

/// The cgroup at a path in the driver's form.
pub(crate) fn cgroup_at(path: &str, driver: CgroupDriver) -> Result<sys::cgroup::Cgroup> {
    let driver = match driver {
        CgroupDriver::Cgroupfs => sys::cgroup::CgroupDriver::Cgroupfs,
        CgroupDriver::Systemd => sys::cgroup::CgroupDriver::Systemd,
    };
    sys::cgroup::Cgroup::new(driver, path).map_err(|e| Failure::new("cgroup", format!("cgroup {path}: {e}")))
}

/// The spec's limits. Device rules are completed by what every container may use (runtime-spec, "Default Devices"):
/// a spec that denies everything means everything else.
pub(crate) fn limits_of(spec: &Spec) -> Limits {
    use sys::cgroup::{DeviceKind, DeviceRule};
    let mut limits = spec.linux.resources.clone();
    if limits.devices.is_empty() {
        return limits;
    }
    let rule = |kind, major, minor, access: &str| DeviceRule { allow: true, kind, major, minor, access: access.into() };
    limits.devices.push(rule(DeviceKind::Char, None, None, "m"));
    limits.devices.push(rule(DeviceKind::Block, None, None, "m"));
    // null, zero, full, random, urandom; tty, console, ptmx; terminals.
    for (major, minors) in [(1, &[3, 5, 7, 8, 9][..]), (5, &[0, 1, 2][..])] {
        for minor in minors {
            limits.devices.push(rule(DeviceKind::Char, Some(major), Some(*minor), "rwm"));
        }
    }
    limits.devices.push(rule(DeviceKind::Char, Some(136), None, "rwm"));
    limits
}

/// The path of a root file system: absolute, or below the bundle.
pub(crate) fn root_path(spec: &Spec, bundle: &Path) -> PathBuf {
    spec.root.as_ref().map_or_else(|| bundle.join("rootfs"), |root| bundle.join(&root.path))
}

/// One of the implementations.
#[derive(Debug)]
pub(crate) enum Runtime {
    Builtin(Rc<builtin::Builtin>),
    Command(command::CommandRuntime),
    OtherShim(other_shim::OtherShimRuntime),
}

/// Calls the method of whichever it is.
macro_rules! either {
    ($self:ident, $runtime:ident => $call:expr) => {
        match $self {
            Self::Builtin($runtime) => $call,
            Self::Command($runtime) => $call,
            Self::OtherShim($runtime) => $call,
        }
    };
}

impl OciRuntime for Runtime {
    async fn create(&self, request: CreateRequest) -> Result<Created> {
        either!(self, runtime => runtime.create(request).await)
    }

    async fn start(&self, id: &str) -> Result<()> {
        either!(self, runtime => runtime.start(id).await)
    }

    async fn exec(&self, id: &str, request: ExecRequest) -> Result<Created> {
        either!(self, runtime => runtime.exec(id, request).await)
    }

    async fn kill(&self, id: &str, signal: i32, all: bool) -> Result<()> {
        either!(self, runtime => runtime.kill(id, signal, all).await)
    }

    async fn pause(&self, id: &str) -> Result<()> {
        either!(self, runtime => runtime.pause(id).await)
    }

    async fn resume(&self, id: &str) -> Result<()> {
        either!(self, runtime => runtime.resume(id).await)
    }

    async fn update(&self, id: &str, limits: &Limits, limits_json: &[u8]) -> Result<()> {
        either!(self, runtime => runtime.update(id, limits, limits_json).await)
    }

    fn stats(&self, id: &str) -> Result<CgroupStats> {
        either!(self, runtime => runtime.stats(id))
    }

    fn pids(&self, id: &str) -> Result<Vec<i32>> {
        either!(self, runtime => runtime.pids(id))
    }

    async fn delete(&self, id: &str) -> Result<()> {
        either!(self, runtime => runtime.delete(id).await)
    }
}

impl Runtime {
    /// Lets a container that was sent SIGKILL run, so that it can die.
    pub(crate) fn thaw_killed(&self, id: &str) {
        match self {
            Self::Builtin(runtime) => runtime.thaw(id),
            Self::Command(runtime) => runtime.thaw(id),
            Self::OtherShim(runtime) => runtime.thaw(),
        }
    }

    /// The processes belong to another shim.
    pub(crate) fn is_elsewhere(&self) -> bool {
        matches!(self, Self::OtherShim(_))
    }

    /// Writes a memory image of the container.
    ///
    /// Always refused: criu is not driven yet.
    pub(crate) async fn checkpoint(&self, id: &str, _path: &str) -> Result<()> {
        Err(Failure::new(
            "checkpoint",
            format!("checkpoint of {id}: not supported (it needs criu, which is not driven yet)"),
        ))
    }
}
