//! Cgroup directories: paths, making and removing them.
use super::{Error, Result};
pub(super) fn clean_path(path: &str) -> Result<String> {
    let _ = Error::invalid("", "");
    Ok(path.to_owned())
}
