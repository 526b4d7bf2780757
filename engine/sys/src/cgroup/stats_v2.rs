//! Statistics of v2.
use super::{CgroupStats, Error, Result, v2::V2};
pub(super) fn read(_: &V2) -> Result<CgroupStats> {
    Err(Error::unsupported("stats", "not built yet"))
}
