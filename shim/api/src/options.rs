//! Our own options, carried as JSON in the `Any` fields of the protocol. Another shim does not know these type URLs;
//! it is given what containerd would give it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use prost_types::Any;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::ttrpc::{Code, Error};

/// Type URL of [`TaskOptions`].
pub const TASK_OPTIONS_URL: &str = "gantry.shim.v1/TaskOptions";
/// Type URL of [`ExecOptions`].
pub const EXEC_OPTIONS_URL: &str = "gantry.shim.v1/ExecOptions";
/// Type URL of [`SandboxOptions`].
pub const SANDBOX_OPTIONS_URL: &str = "gantry.shim.v1/SandboxOptions";
/// Type URL of [`SandboxNamespaces`].
pub const SANDBOX_NAMESPACES_URL: &str = "gantry.shim.v1/SandboxNamespaces";
/// Type URL of the statistics that `Stats` answers when asked by our engine: JSON of `sys::cgroup::CgroupStats`.
pub const CGROUP_STATS_URL: &str = "gantry.shim.v1/CgroupStats";
/// Type URL of [`StartFailure`], a detail of a failed Create, Start or Exec.
pub const START_FAILURE_URL: &str = "gantry.shim.v1/StartFailure";
/// Type URL of an OCI `LinuxResources` in JSON, in Update (containerd's name for it).
pub const OCI_RESOURCES_URL: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
/// Type URL of an OCI `Process` in JSON, in Exec (containerd's name for it).
pub const OCI_PROCESS_URL: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";

/// Packs a value as JSON.
///
/// # Errors
/// `Internal` when the value has no JSON form.
pub fn to_any<T: Serialize>(type_url: &str, value: &T) -> Result<Any, Error> {
    let value = serde_json::to_vec(value).map_err(|e| Error::new(Code::Internal, format!("{type_url}: {e}")))?;
    Ok(Any { type_url: type_url.to_owned(), value })
}

/// Unpacks a value that [`to_any`] packed.
///
/// # Errors
/// `InvalidArgument` with the field and the reason.
pub fn from_any<T: DeserializeOwned>(any: &Any) -> Result<T, Error> {
    serde_json::from_slice(&any.value).map_err(|e| Error::new(Code::InvalidArgument, format!("{}: {e}", any.type_url)))
}

/// Where a process's output is logged, beside being sent to whoever is attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum LogSink {
    /// Nowhere.
    #[default]
    Null,
    /// The CRI text format; rotated by the kubelet, which renames the file and asks to reopen.
    CriFile {
        /// The file; its folder exists.
        path: PathBuf,
    },
    /// Docker's json-file format, rotated by the shim.
    JsonFile {
        /// The file; its folder exists. Older ones are `path.1`, `path.2`, ...
        path: PathBuf,
        /// Rotate before the file grows beyond this; `None` never rotates.
        max_bytes: Option<u64>,
        /// Number of files kept, the current one included; at least 1.
        max_files: u32,
        /// Compress files that are not current (`path.1.gz`).
        compress: bool,
        /// What each record says beside its line (docker's `attrs`).
        #[serde(default)]
        attributes: BTreeMap<String, String>,
    },
    /// docker's `local`: binary records (see `log_format`), rotated by the shim.
    LocalFile(RotatedFiles),
    /// Another program on this machine or elsewhere, over a queue that the shim keeps.
    Remote {
        /// Who is sent the lines.
        receiver: LogReceiver,
        /// Bytes that wait at most.
        queue_bytes_max: u64,
        /// A full queue holds up the container while the receiver takes lines; else new lines are lost.
        blocking: bool,
        /// A copy that can be read back, in the format of `LocalFile`.
        cache: Option<RotatedFiles>,
    },
}

/// A file and its older ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotatedFiles {
    /// The file; its folder exists. Older ones are `path.1`, `path.2`, ...
    pub path: PathBuf,
    /// Rotate before the file grows beyond this; `None` never rotates.
    pub max_bytes: Option<u64>,
    /// Number of files kept, the current one included; at least 1.
    pub max_files: u32,
    /// Compress files that are not current (`path.1.gz`).
    pub compress: bool,
}

/// Who is sent the lines of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum LogReceiver {
    /// A syslog daemon.
    Syslog {
        /// Where it listens.
        address: SyslogAddress,
        /// 0 to 23, as RFC 5424 numbers them.
        facility: u8,
        /// Form of the messages.
        format: SyslogFormat,
        /// What the messages are marked with.
        tag: String,
        /// This machine's name, for the formats that tell it.
        hostname: String,
    },
    /// systemd's journal.
    Journald {
        /// Its socket.
        socket: PathBuf,
        /// Fields of every entry, beside the line and its priority.
        fields: BTreeMap<String, String>,
    },
}

/// Where a syslog daemon listens; names are resolved already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyslogAddress {
    /// This machine's: `/dev/log`, `/var/run/syslog` or `/var/run/log`.
    Local,
    /// Unix stream socket.
    Unix(PathBuf),
    /// Unix datagram socket.
    Unixgram(PathBuf),
    /// The first address that answers.
    Tcp(Vec<SocketAddr>),
    /// The first address that can be used.
    Udp(Vec<SocketAddr>),
}

/// Form of syslog messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum SyslogFormat {
    /// `<priority>time tag[pid]: line`, as C libraries write it.
    #[default]
    Unix,
    /// With the name of the machine.
    Rfc3164,
    /// RFC 5424, times in seconds.
    Rfc5424,
    /// RFC 5424, times in microseconds.
    Rfc5424Micro,
}

/// Which OCI runtime runs the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum RuntimeChoice {
    /// The one inside the shim.
    #[default]
    Builtin,
    /// An OCI runtime program with runc's command line.
    Command {
        /// Absolute path, or a name that is looked up in the shim's `PATH`.
        binary: PathBuf,
        /// The program's `--root`; the default is a folder of the bundle.
        root: Option<PathBuf>,
    },
    /// Another containerd shim v2, which makes the processes; streams, logs and exit records stay with ours.
    Shim {
        /// Absolute path, or a name that is looked up in our shim's `PATH`.
        binary: PathBuf,
        /// That shim's own configuration file (`runtimeoptions.v1.Options`), if it takes one.
        config: Option<PathBuf>,
    },
}

/// Who makes cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum CgroupDriver {
    /// Folders under `/sys/fs/cgroup`; `cgroupsPath` is a path.
    #[default]
    Cgroupfs,
    /// systemd scopes; `cgroupsPath` is `slice:prefix:name`.
    Systemd,
}

/// Characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// Options of Create. With them the shim owns the container's streams (log and attach socket) and the request's
/// `stdin`, `stdout` and `stderr` paths stay empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct TaskOptions {
    /// Where output is logged.
    pub log: LogSink,
    /// Standard input is open; else it is `/dev/null`.
    pub stdin: bool,
    /// Standard input closes when the first attached client that owns it goes.
    pub stdin_once: bool,
    /// First size of the terminal, when the request asks for one.
    pub terminal_size: Option<TerminalSize>,
    /// Which OCI runtime.
    pub runtime: RuntimeChoice,
    /// Who makes the container's cgroup.
    pub cgroup_driver: CgroupDriver,
    /// Put our init (reaps, forwards signals) in front of the process, as `docker run --init` does.
    pub init: bool,
    /// The container whose first process this is shares its `/dev/shm`: it is what [`crate::bundle::ContainerBundle::shm`]
    /// stands for, in place of the sandbox's.
    pub shm_of: Option<i32>,
    /// Leave the session keyring as it is.
    pub no_new_keyring: bool,
}

/// Options of Exec, in place of the bare OCI `Process`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecOptions {
    /// The OCI `Process`, not read here.
    pub process: Box<RawValue>,
    /// Where output is logged (usually nowhere; the attach socket has it).
    #[serde(default)]
    pub log: LogSink,
    /// Standard input is open; else it is `/dev/null`.
    #[serde(default)]
    pub stdin: bool,
    /// Output waits (in the pipe) until a client has attached, so that none is lost before it does.
    #[serde(default)]
    pub wait_for_attach: bool,
}

/// One range of user or group ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMapping {
    /// First id inside.
    pub container_id: u32,
    /// First id outside.
    pub host_id: u32,
    /// Number of ids.
    pub size: u32,
}

/// Whose namespace the sandbox's containers use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum NamespaceMode {
    /// A new one, held by the shim for all containers of the sandbox.
    #[default]
    Sandbox,
    /// The host's.
    Host,
    /// Each container has its own (nothing is held).
    Container,
}

/// Options of CreateSandbox: which namespaces the shim holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct SandboxOptions {
    /// Network. `Sandbox`: the namespace given as fd 4 at launch (or `netns_path` of the request), else a new one.
    pub network: NamespaceMode,
    /// System V IPC and POSIX message queues.
    pub ipc: NamespaceMode,
    /// Host name.
    pub uts: NamespaceMode,
    /// Process ids. `Sandbox`: one namespace for all containers, whose init is the shim's child.
    pub pid: NamespaceMode,
    /// User ids: when not empty, one user namespace for all containers.
    pub uid_mappings: Vec<IdMapping>,
    /// Group ids, with `uid_mappings`.
    pub gid_mappings: Vec<IdMapping>,
    /// Host name to set in a new UTS namespace.
    pub hostname: Option<String>,
    /// Domain name to set in a new UTS namespace.
    pub domainname: Option<String>,
    /// Sysctls of the held namespaces (`net.*`, `kernel.shm*`, `fs.mqueue.*`, ...), with dots.
    pub sysctls: BTreeMap<String, String>,
    /// Hold a tmpfs of so many bytes as the `/dev/shm` of all containers.
    pub shm_bytes: Option<u64>,
    /// Cgroup, made for it, of the sandbox's own init, which a shared PID namespace has.
    pub cgroup: Option<String>,
    /// Who makes that cgroup.
    pub cgroup_driver: CgroupDriver,
}

/// The namespaces that a started sandbox holds, as paths for OCI specs; `None` where nothing is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct SandboxNamespaces {
    /// Network.
    pub network: Option<PathBuf>,
    /// IPC.
    pub ipc: Option<PathBuf>,
    /// UTS.
    pub uts: Option<PathBuf>,
    /// PID.
    pub pid: Option<PathBuf>,
    /// User.
    pub user: Option<PathBuf>,
    /// The held `/dev/shm`: a bind mount of this source shows it. There is nothing at the path itself.
    pub shm: Option<PathBuf>,
}

/// Which step of making a process failed, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartFailure {
    /// The step (`exec`, `mount`, `chdir`, ...).
    pub step: String,
    /// `errno`, or 0.
    pub errno: i32,
    /// The exit code that a command line tool reports: 127 not found, 126 not executable, else 128.
    pub exit_code: u32,
}

/// The end of a process, written to disk until it is collected by Delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Process id, as the shim saw it.
    pub pid: u32,
    /// Exit code, or 128 + signal.
    pub exit_status: u32,
    /// Nanoseconds since 1970.
    pub exited_at_ns: i64,
    /// Nanoseconds since 1970; 0 when it never started.
    #[serde(default)]
    pub started_at_ns: i64,
    /// The memory limit killed a process of the container.
    #[serde(default)]
    pub oom_killed: bool,
}
