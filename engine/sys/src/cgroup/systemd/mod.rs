//! The systemd driver.
use super::{Error, Limits, Result};
#[derive(Debug)]
pub(super) struct Unit;
#[derive(Debug)]
pub(super) struct Property;
fn no<T>() -> Result<T> {
    Err(Error::unsupported("cgroupsPath", "the systemd driver is not built yet"))
}
impl Unit {
    pub(super) fn parse(_: &str) -> Result<Self> {
        no()
    }
    pub(super) fn cgroup_path(&self) -> Result<String> {
        no()
    }
    pub(super) fn start(&self, _: &[Property]) -> Result<()> {
        no()
    }
    pub(super) fn set_properties(&self, _: &[Property]) -> Result<()> {
        no()
    }
    pub(super) fn stop(&self) -> Result<()> {
        no()
    }
}
pub(super) fn properties(_: &Limits, _: u8, _: i32) -> Result<Vec<Property>> {
    no()
}
pub(super) fn limit_properties(_: &Limits, _: u8) -> Result<Vec<Property>> {
    no()
}
