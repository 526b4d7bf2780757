//! Statistics of v1.
use super::{CgroupStats, Error, Result, v1::V1};
pub(super) fn read(_: &V1) -> Result<CgroupStats> {
    Err(Error::unsupported("stats", "not built yet"))
}
