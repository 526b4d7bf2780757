//! The core of Gantry: images, content, snapshots, sandboxes, containers, networks and volumes.
//!
//! It decides everything and knows no door: no gRPC, HTTP, CRI or Docker type appears here.

mod archive;
pub mod build;
pub mod config;
pub mod container;
pub mod content;
mod disk_usage;
mod embedded;
pub mod engine;
pub mod error;
pub mod event;
pub mod failpoint;
pub mod gc;
mod handler_features;
mod host;
pub mod id;
pub mod image;
mod leaks;
pub mod lease;
mod logs;
pub mod metadata;
pub mod names;
pub mod network;
mod program;
mod readiness;
mod recover;
mod rollback;
pub mod sandbox;
pub mod snapshot;
pub mod spec;
pub mod task;
pub mod volume;

pub use archive::ArchiveStream;
pub use config::EngineConfig;
pub use container::{ContainerHandle, ExecHandle};
pub use engine::{CreatedContainer, Engine, EngineInfo, EventReceiver};
pub use error::{Error, ErrorKind, Result};
pub use handler_features::HandlerFeatures;
pub use leaks::Leak;
pub use sandbox::SandboxHandle;
