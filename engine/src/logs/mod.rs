//! Where the shim is told to log, and reading what it has logged. The formats are in `shim_api::log_format`.

mod files;
mod reader;
mod sink;

pub(crate) use reader::read;
pub(crate) use sink::sink;
