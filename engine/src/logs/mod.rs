//! Reading what the shim has logged. The formats are in `shim_api::log_format`.

mod files;
mod reader;

pub(crate) use reader::read;
