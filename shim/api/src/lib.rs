//! The containerd shim v2 protocol (ttrpc, Task and Sandbox services) and the formats that engine and shim share.
//!
//! Absent by design: the engine, the kernel (`sys`) and OCI types. What a container's process looks like crosses this
//! crate as JSON text that it does not read.
//!
//! Begin with [`task::TaskClient`] for what a client asks, [`ttrpc`] for how it travels, [`bundle`] for where a
//! shim's files are and [`attach`] for its streams.

pub mod accept;
pub mod attach;
pub mod bundle;
pub mod log_format;
pub mod options;
pub mod proto;
pub mod sandbox;
pub mod task;
pub mod time;
pub mod ttrpc;
pub mod unix_path;

/// The protocol's timestamp and dynamically typed value, re-exported so that callers need no protobuf crate.
pub use prost_types::{Any, Timestamp};
