//! `POST /containers/{id}/exec` and `/exec/{id}/…`.

use serde::{Deserialize, Serialize};

use crate::container::StrSlice;

/// Body of exec create.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ExecCreate {
    /// `user[:group]`.
    pub user: String,
    /// All capabilities.
    pub privileged: bool,
    /// A terminal.
    pub tty: bool,
    /// Height and width (1.42).
    pub console_size: Option<[u32; 2]>,
    /// Attach stdin.
    pub attach_stdin: bool,
    /// Attach stderr.
    pub attach_stderr: bool,
    /// Attach stdout.
    pub attach_stdout: bool,
    /// Keys that detach.
    pub detach_keys: String,
    /// Environment, `K=V`.
    pub env: Option<Vec<String>>,
    /// Directory.
    pub working_dir: String,
    /// Program and arguments.
    pub cmd: StrSlice,
}

/// Answer of exec create (and of image commit): an id.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct IdResponse {
    /// The id.
    #[serde(rename = "Id")]
    pub id: String,
}

/// Body of exec start.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ExecStart {
    /// Do not connect.
    pub detach: bool,
    /// Output is raw.
    pub tty: bool,
    /// Height and width (1.42).
    pub console_size: Option<[u32; 2]>,
}

/// Answer of `GET /exec/{id}/json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecInspect {
    /// Exec id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Runs now.
    #[serde(rename = "Running")]
    pub running: bool,
    /// `null` until it has ended.
    #[serde(rename = "ExitCode")]
    pub exit_code: Option<i32>,
    /// What runs.
    #[serde(rename = "ProcessConfig")]
    pub process_config: ProcessConfig,
    /// stdin is attached.
    #[serde(rename = "OpenStdin")]
    pub open_stdin: bool,
    /// stderr is attached.
    #[serde(rename = "OpenStderr")]
    pub open_stderr: bool,
    /// stdout is attached.
    #[serde(rename = "OpenStdout")]
    pub open_stdout: bool,
    /// Its record may be removed.
    #[serde(rename = "CanRemove")]
    pub can_remove: bool,
    /// Container id.
    #[serde(rename = "ContainerID")]
    pub container_id: String,
    /// Keys that detach, as bytes in base64.
    #[serde(rename = "DetachKeys")]
    pub detach_keys: String,
    /// Pid on the host, 0 before.
    #[serde(rename = "Pid")]
    pub pid: u32,
}

/// What an exec runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessConfig {
    /// A terminal.
    pub tty: bool,
    /// Program.
    pub entrypoint: String,
    /// The other arguments.
    pub arguments: Vec<String>,
    /// All capabilities.
    pub privileged: bool,
    /// User, if one was named.
    #[serde(skip_serializing_if = "crate::skip::zero")]
    pub user: String,
}
