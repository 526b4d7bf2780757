//! A container: a configured, named, durable thing to run.
//!
//! ```text
//!            create            start              exit / kill
//!   (none) ─────────► Created ───────► Starting ─────► Running ◄──► Paused
//!                        ▲               │  failed        │
//!                        └───────────────┘                ▼
//!                                   start ◄──────────── Exited ── remove ──► Removing ──► (none)
//!                                          (Restarting: waits for its back-off)
//! ```
//! Spec (asked), record (stored), state (pure rules), handle (calls), driver (the one writer).

pub(crate) mod attach;
mod cdi;
pub(crate) mod changes;
mod checkpoint;
mod commit;
pub(crate) mod cpu_rate;
pub(crate) mod create;
pub(crate) mod driver;
pub(crate) mod exec;
mod files;
pub(crate) mod handle;
mod health;
pub(crate) mod image_mount;
mod network;
mod pause;
pub(crate) mod process;
mod process_figures;
mod random_name;
pub(crate) mod record;
mod remove;
mod rename;
pub(crate) mod restart_policy;
pub(crate) mod root_tree;
pub(crate) mod rootfs;
pub mod signal;
pub(crate) mod start;
pub mod state;
pub(crate) mod stats;
mod stop;
mod top;
mod update;
mod wait;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::id::{ContainerId, ExecId, ImageId, SandboxId};
use crate::sandbox::EndpointInfo;
use crate::snapshot::Measured;
use crate::spec::user::ResolvedUser;
use crate::spec::{ContainerSpec, ExecSpec};

pub use changes::{Change, ChangeKind};
pub use commit::CommitRequest;
pub use exec::ExecHandle;
pub use files::{PathStat, WriteArchive};
pub use handle::ContainerHandle;
pub use process_figures::ProcessFigures;
pub use stats::InterfaceCounters;

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Made, never started.
    Created,
    /// Being started.
    Starting,
    /// Runs.
    Running,
    /// Frozen.
    Paused,
    /// Waits for its next start.
    Restarting,
    /// Has ended.
    Exited,
    /// Being removed.
    Removing,
    /// Could not be removed; the reason is in `error`.
    Dead,
}

/// Health of a container with a health check.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HealthView {
    /// `starting`, `healthy` or `unhealthy`.
    pub status: String,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last results: start ns, end ns, exit code, output (4096 bytes at most).
    pub log: Vec<(i64, i64, i32, String)>,
}

/// What is known of a container: an immutable snapshot in memory, replaced at each change. Reading it never waits.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerView {
    /// Id.
    pub id: ContainerId,
    /// Name, without slash.
    pub name: String,
    /// As asked for.
    pub spec: Arc<ContainerSpec>,
    /// Its sandbox.
    pub sandbox_id: SandboxId,
    /// The image it was made from.
    pub image_id: ImageId,
    /// What runs: entrypoint and command joined, environment, directory and user as resolved against the image.
    pub resolved: Arc<ResolvedProcess>,
    /// Phase.
    pub phase: Phase,
    /// Pid of the first process on the host; 0 = none.
    pub pid: u32,
    /// Exit code of the last run; 0 before the first.
    pub exit_code: i32,
    /// The last run was ended by the OOM killer.
    pub oom_killed: bool,
    /// Why the last start or removal failed.
    pub error: String,
    /// Times in nanoseconds since 1970; 0 = not yet.
    pub created_ns: i64,
    /// Last start.
    pub started_ns: i64,
    /// Last end.
    pub finished_ns: i64,
    /// Restarts by policy.
    pub restart_count: u32,
    /// A user's stop holds the restart policy back.
    pub stopped_by_user: bool,
    /// Health, if it has a check.
    pub health: Option<HealthView>,
    /// Mounts as they were resolved.
    pub mounts: Vec<MountView>,
    /// Endpoints, while its sandbox is up.
    pub endpoints: Vec<EndpointInfo>,
    /// Published ports, while its sandbox is up.
    pub ports: Vec<PublishedPort>,
    /// Path of the log, empty if none.
    pub log_path: String,
    /// Paths of the files the engine mounts over /etc: resolv.conf, hostname, hosts.
    pub etc_paths: (String, String, String),
    /// Running execs.
    pub exec_ids: Vec<ExecId>,
    /// cgroup path.
    pub cgroup_path: String,
    /// Who the first process ran as at its last start; `None` before the first.
    pub runs_as: Option<ResolvedUser>,
    /// Sequence number of the change that made this view.
    pub seq: u64,
}

impl ContainerView {
    /// Whether it was made from this image, or mounts it.
    pub fn uses_image(&self, image: &ImageId) -> bool {
        let mounted = |mount: &MountView| mount.kind == "image" && mount.source == image.to_string();
        self.image_id == *image || self.mounts.iter().any(mounted)
    }
}

/// The process after the image's defaults were applied.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ResolvedProcess {
    /// Program (first of entrypoint + command).
    pub path: String,
    /// The other arguments.
    pub args: Vec<String>,
    /// Entrypoint in force.
    pub entrypoint: Vec<String>,
    /// Command in force.
    pub cmd: Vec<String>,
    /// Environment in force.
    pub env: Vec<String>,
    /// Directory.
    pub cwd: String,
    /// User as text.
    pub user: String,
    /// Labels in force.
    pub labels: BTreeMap<String, String>,
    /// Stop signal in force.
    pub stop_signal: String,
    /// Ports that the image exposes or the user named, `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// Volumes of the image.
    pub volumes: Vec<String>,
}

/// A mount as resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountView {
    /// `bind`, `volume`, `tmpfs` or `image`.
    pub kind: String,
    /// Volume name, else empty.
    pub name: String,
    /// Path on the host.
    pub source: String,
    /// Path in the container.
    pub destination: String,
    /// Volume driver.
    pub driver: String,
    /// docker's mode column.
    pub mode: String,
    /// Writable.
    pub rw: bool,
    /// Propagation word.
    pub propagation: String,
    /// The volume is anonymous and goes with the container.
    pub anonymous: bool,
}

pub use crate::sandbox::PublishedPort;
pub use sys::cgroup::{CgroupStats, HugetlbStats, IoEntry, MemoryStats, Pressure, PressureLine, SwapStats};

/// When a wait ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitCondition {
    /// At once if it is not running.
    NotRunning,
    /// At its next exit.
    NextExit,
    /// When it is removed.
    Removed,
}

/// What a wait answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitOutcome {
    /// Exit code.
    pub exit_code: i32,
    /// Why it could not be told or removed, else empty.
    pub error: String,
}

/// Removal choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RemoveOptions {
    /// Kill it first if it runs; also allows one door to remove the other's.
    pub force: bool,
    /// Remove its anonymous volumes.
    pub volumes: bool,
}

/// What an attach connects.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttachOptions {
    /// Send input.
    pub stdin: bool,
    /// Receive stdout.
    pub stdout: bool,
    /// Receive stderr.
    pub stderr: bool,
    /// First replay what was logged.
    pub logs: bool,
    /// Then follow what comes.
    pub stream: bool,
    /// Keys that detach; empty = ctrl-p,ctrl-q.
    pub detach_keys: String,
}

/// Which stream a piece of output is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output; all output of a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Both ends of an attached process. Dropping it detaches.
pub struct AttachedIo {
    /// A terminal: output is raw and only `Stdout`.
    pub tty: bool,
    /// Output in order, `None` at the end. Bounded: a slow reader slows itself, not the container's log.
    /// It is dropped before `stdin`, so that the engine can tell who has gone from who has no more to say.
    pub output: tokio::sync::mpsc::Receiver<(Stream, bytes::Bytes)>,
    /// Input; shutting it down half-closes. `None` if stdin was not asked for or is not open.
    pub stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
}

impl std::fmt::Debug for AttachedIo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AttachedIo").field("tty", &self.tty).finish_non_exhaustive()
    }
}

/// Log reading choices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogOptions {
    /// Go on with what comes, until the container ends.
    pub follow: bool,
    /// Only stdout, only stderr, or both.
    pub stdout: bool,
    /// See `stdout`.
    pub stderr: bool,
    /// From this time (ns since 1970), 0 = all.
    pub since_ns: i64,
    /// Until this time, 0 = all.
    pub until_ns: i64,
    /// Only the last so many lines.
    pub tail: Option<u64>,
}

/// One line (or piece of a long line) of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When it was written, ns since 1970.
    pub time_ns: i64,
    /// Stream.
    pub stream: Stream,
    /// Bytes with their newline; without it, a piece of a longer line.
    pub data: bytes::Bytes,
    /// What the log's options tell with each line.
    pub attributes: std::collections::BTreeMap<String, String>,
}

/// Output of a command that ran to its end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecOutput {
    /// stdout, at most the limit.
    pub stdout: Vec<u8>,
    /// stderr, at most the limit.
    pub stderr: Vec<u8>,
    /// Exit code.
    pub exit_code: i32,
}

/// An exec's view.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecView {
    /// Id.
    pub id: ExecId,
    /// Container.
    pub container_id: ContainerId,
    /// As asked for.
    pub spec: ExecSpec,
    /// Runs now.
    pub running: bool,
    /// Was started at all.
    pub started: bool,
    /// Exit code once ended.
    pub exit_code: Option<i32>,
    /// Pid on the host, 0 before.
    pub pid: u32,
}

/// A sample of use: what docker's stats and CRI's ContainerStats are made from.
#[derive(Debug, Clone, PartialEq)]
pub struct StatsSample {
    /// When, ns since 1970.
    pub time_ns: i64,
    /// From the cgroup.
    pub cgroup: CgroupStats,
    /// Nanoseconds of CPU time used each second since the sample before; `None` at the first.
    pub cpu_nano_cores: Option<u64>,
    /// From the network namespace: interface, then rx bytes, packets, errors, dropped, tx the same four.
    pub network: Vec<InterfaceCounters>,
    /// Writable layer, when it was last counted.
    pub writable: Option<Measured>,
}

/// `ps`-like table read from /proc.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopTable {
    /// Column titles.
    pub titles: Vec<String>,
    /// Rows.
    pub processes: Vec<Vec<String>>,
}

/// Default time between the stop signal and SIGKILL.
pub const STOP_GRACE_DEFAULT: Duration = Duration::from_secs(10);

/// Reads a log; `None` at its end.
pub type LogReceiver = tokio::sync::mpsc::Receiver<crate::Result<LogLine>>;

/// A reader of bytes that is sent to a client.
pub type ByteReader = Box<dyn AsyncRead + Send + Unpin>;
