//! Files in and out of containers.

use serde::{Deserialize, Serialize};

/// `X-Docker-Container-Path-Stat`: what a path in a container is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PathStat {
    /// Last name of the path.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// Go's `os.FileMode`.
    pub mode: u32,
    /// RFC 3339.
    pub mtime: String,
    /// Where a symlink leads.
    pub link_target: String,
}

/// One row of `GET /containers/{id}/changes`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ChangeItem {
    /// Absolute path.
    pub path: String,
    /// 0 = modified, 1 = added, 2 = deleted.
    pub kind: u8,
}
