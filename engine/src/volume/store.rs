//! `Volumes`: the records of all volumes, and who uses them.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::metadata::Store;

/// A volume to create.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeSpec {
    /// Its name; a random one of 64 hexadecimal characters makes it anonymous.
    pub name: Option<String>,
    /// `local` when empty; others are refused by name.
    pub driver: String,
    /// Options of the driver: `type`, `o`, `device`.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A volume as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeView {
    /// Its name.
    pub name: String,
    /// Always `local`.
    pub driver: String,
    /// `<root>/volumes/<name>/_data`.
    pub mountpoint: PathBuf,
    /// When it was made.
    pub created: Timestamp,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Made without a name.
    pub anonymous: bool,
    /// Containers that use it.
    pub users: Vec<ContainerId>,
}

/// How a volume gets into a container: a value; nobody mounts here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeMount {
    /// `bind`, or the file system of a volume with options (`tmpfs`, `nfs`, …).
    pub kind: String,
    /// A directory of the host, or a device.
    pub source: String,
    /// Options of the mount.
    pub options: Vec<String>,
}

/// A stored volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// Version of this record.
    pub v: u32,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Made without a name.
    pub anonymous: bool,
}

/// All volumes of this daemon; cheap to clone.
#[derive(Debug, Clone)]
pub struct Volumes;

impl Volumes {
    /// Loads the records; `root` is the directory `volumes`.
    ///
    /// # Errors
    /// `Internal` when the store or the directory cannot be read.
    pub async fn open(_store: Store, _root: PathBuf) -> Result<Self> {
        Err(Error::not_implemented("volumes"))
    }
    /// Creates a volume, or answers the one of this name when driver and options agree.
    ///
    /// # Errors
    /// `InvalidArgument` for a name or an option, `Conflict` when one of this name differs.
    pub async fn create(&self, _spec: VolumeSpec) -> Result<Arc<VolumeView>> {
        Err(Error::not_implemented("volumes"))
    }
    /// All volumes, by name. From memory.
    pub fn list(&self) -> Vec<Arc<VolumeView>> {
        Vec::new()
    }
    /// One volume. From memory.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn get(&self, name: &str) -> Result<Arc<VolumeView>> {
        Err(Error::not_found(format!("get {name}: no such volume")))
    }
    /// Removes a volume and its data. `force` makes a missing one no error; it never removes one in use.
    ///
    /// # Errors
    /// `NotFound`, `Conflict` naming the containers that use it.
    pub async fn remove(&self, _name: &str, _force: bool) -> Result<()> {
        Err(Error::not_implemented("volumes"))
    }
    /// Removes the unused volumes for which `wanted` holds; answers their names and the bytes given back.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn prune(&self, _wanted: impl Fn(&VolumeView) -> bool + Send) -> Result<(Vec<String>, u64)> {
        Err(Error::not_implemented("volumes"))
    }
    /// How to mount a volume; with `subpath`, a directory inside it that exists and does not lead out of it.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument` for the subpath.
    pub fn mount(&self, _name: &str, _subpath: Option<&str>) -> Result<VolumeMount> {
        Err(Error::not_implemented("volumes"))
    }
    /// Notes that a container uses a volume. The engine calls it at create, and at start-up for each container.
    pub fn hold(&self, _name: &str, _container: &ContainerId) {}
    /// Takes back [`Self::hold`] for all volumes of a container; answers their names.
    pub fn release(&self, _container: &ContainerId) -> Vec<String> {
        Vec::new()
    }
    /// Copies what `path` (inside the rootfs `root`) holds into an empty volume; a volume with content is left alone.
    /// Answers whether something was copied.
    ///
    /// # Errors
    /// When something cannot be copied; the volume is emptied again.
    pub async fn copy_up(&self, _name: &str, _root: BorrowedFd<'_>, _path: &str) -> Result<bool> {
        Err(Error::not_implemented("volumes"))
    }
}
