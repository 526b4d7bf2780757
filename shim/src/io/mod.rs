//! Streams of processes: from pipe or terminal to log, attached clients and FIFOs, and back.

pub(crate) mod attach;
mod journal_entry;
mod log_file;
pub(crate) mod log_writer;
pub(crate) mod relay;
pub(crate) mod remote_log;
pub(crate) mod streams;
mod syslog;
