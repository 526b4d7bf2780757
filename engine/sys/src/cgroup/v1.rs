//! cgroup v1 (stub).
use super::{Error, Layout, Limits, Result};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
#[derive(Debug)]
pub(super) struct V1 {
    _layout: Layout,
}
fn no<T>() -> Result<T> {
    Err(Error::unsupported("cgroupsPath", "cgroup v1 is not built yet"))
}
impl V1 {
    pub(super) fn new(layout: &Layout, _path: &str) -> Self {
        Self { _layout: layout.clone() }
    }
    pub(super) fn directories(&self) -> Vec<(String, PathBuf)> {
        Vec::new()
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
    pub(super) fn exists(&self) -> bool {
        false
    }
    pub(super) fn memory_directory(&self) -> Result<&Path> {
        no()
    }
    pub(super) fn remove(&self) -> Result<()> {
        no()
    }
}
