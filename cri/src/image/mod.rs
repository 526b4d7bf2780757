//! The image RPCs.

mod fs_info;
mod pull;
mod remove;
mod status;

pub(crate) use fs_info::fs_info;
pub(crate) use pull::pull;
pub(crate) use remove::remove;
pub(crate) use status::{list, status};
