//! cgroup v2 (stub).
use super::{Error, Layout, Limits, Result};
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
#[derive(Debug)]
pub(super) struct V2 {
    directory: PathBuf,
}
fn no<T>() -> Result<T> {
    Err(Error::unsupported("cgroupsPath", "cgroup v2 is not built yet"))
}
impl V2 {
    pub(super) fn new(_layout: &Layout, _path: &str) -> Result<Self> {
        no()
    }
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }
    pub(super) fn dir_fd(&self) -> Result<OwnedFd> {
        no()
    }
    pub(super) fn make(&self) -> Result<()> {
        no()
    }
    pub(super) fn set(&self, _: &Limits) -> Result<()> {
        no()
    }
    pub(super) fn check(&self, _: &Limits) -> Result<()> {
        no()
    }
    pub(super) fn add(&self, _: i32) -> Result<()> {
        no()
    }
    pub(super) fn freeze(&self) -> Result<()> {
        no()
    }
    pub(super) fn thaw(&self) -> Result<()> {
        no()
    }
    pub(super) fn is_frozen(&self) -> Result<bool> {
        no()
    }
    pub(super) fn kill_all(&self) -> Result<()> {
        no()
    }
    pub(super) fn pids(&self) -> Result<BTreeSet<i32>> {
        no()
    }
    pub(super) fn remove(&self) -> Result<()> {
        no()
    }
}
