//! The sandbox RPCs, one verb a file.

mod list;
mod remove;
mod run;
mod status;
mod stop;

pub(crate) use list::list;
pub(crate) use remove::remove;
pub(crate) use run::run;
pub(crate) use status::status;
pub(crate) use stop::stop;
