//! Layers as file systems: the contract of a snapshotter.
//!
//! A layer is unpacked once, by its diff id, and is never changed. A snapshot is a stack of layers with, if it is to be
//! written to, a directory on top. Nobody mounts here: [`Snapshotter::mounts`] gives a value, and who runs the
//! container mounts it in the container's own mount namespace.

pub(crate) mod apply;
mod count;
mod directory_times;
mod implied;
mod overlay;
pub(crate) mod tar_stream;
mod usage_book;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::LayerId;

pub use overlay::Overlay;
pub(crate) use overlay::{Staging, remove_tree};
pub use usage_book::Measured;
pub(crate) use usage_book::UsageBook;

/// The most characters of a snapshot's key.
const KEY_LEN_MAX: usize = 128;

/// A snapshot's name: `[A-Za-z0-9_.-]`, not beginning with a dot; a container's id in practice.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SnapshotKey(String);

impl SnapshotKey {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SnapshotKey {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
        if text.is_empty() || text.len() > KEY_LEN_MAX || text.starts_with('.') || !text.bytes().all(allowed) {
            return Err(Error::invalid(format!(
                "{text:?} is not a snapshot key ([A-Za-z0-9_.-], at most {KEY_LEN_MAX})"
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for SnapshotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A mount as a value, in containerd's shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// `overlay` or `bind`.
    pub kind: String,
    /// The directory of a bind; `overlay` for an overlay.
    pub source: String,
    /// `lowerdir=top:…:bottom`, `upperdir=…`, `workdir=…`; or `rbind`, `ro`/`rw`.
    pub options: Vec<String>,
}

/// What a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotKind {
    /// Layers with a writable directory on top.
    Active,
    /// Layers only.
    View,
}

/// A snapshot as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotView {
    /// Its name.
    pub key: SnapshotKey,
    /// Writable or not.
    pub kind: SnapshotKind,
    /// Its layers, lowest first.
    pub layers: Vec<LayerId>,
    /// When it was prepared.
    pub created: jiff::Timestamp,
}

/// Bytes on disk below a directory, as far as they can be counted in a moment. Blocking.
pub(crate) fn bytes_below(dir: &std::path::Path) -> u64 {
    count::count(dir, std::time::Duration::from_secs(20)).map_or(0, |usage| usage.bytes)
}

/// Disk use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes on disk (blocks, so that a sparse file counts what it holds); a file with several links counts once.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

/// Holds layers and snapshots.
///
/// Contract: `prepare` and `view` fail with `AlreadyExists` for a key in use and `NotFound` for an unknown layer, and
/// leave nothing then; `remove` of an unknown key is not an error; a layer that a snapshot stacks is not swept.
#[async_trait]
pub trait Snapshotter: Send + Sync + fmt::Debug {
    /// A writable snapshot on `layers` (lowest first; none for an empty root).
    async fn prepare(&self, key: &SnapshotKey, layers: &[LayerId]) -> Result<Vec<Mount>>;
    /// A read-only snapshot of `layers`.
    async fn view(&self, key: &SnapshotKey, layers: &[LayerId]) -> Result<Vec<Mount>>;
    /// How to mount a snapshot. From memory.
    ///
    /// # Errors
    /// `NotFound` for an unknown key.
    fn mounts(&self, key: &SnapshotKey) -> Result<Vec<Mount>>;
    /// The directory where a writable snapshot's own changes are; `None` for a view.
    fn upper_dir(&self, key: &SnapshotKey) -> Result<Option<PathBuf>>;
    /// Disk use of a snapshot's own changes, walked now; bounded in time, see the error.
    ///
    /// # Errors
    /// `NotFound`; `DeadlineExceeded` when there is too much to count in time.
    async fn usage(&self, key: &SnapshotKey) -> Result<Usage>;
    /// Removes a snapshot and what was written in it.
    async fn remove(&self, key: &SnapshotKey) -> Result<()>;
    /// All snapshots. From memory.
    fn list(&self) -> Vec<SnapshotView>;
}
