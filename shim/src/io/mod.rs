//! Streams of processes: from pipe or terminal to log, attached clients and FIFOs, and back.

pub(crate) mod attach;
pub(crate) mod log_writer;
pub(crate) mod relay;
pub(crate) mod streams;
