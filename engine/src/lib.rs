//! The core of Gantry: images, content, snapshots, sandboxes, containers, networks and volumes.
//!
//! It decides everything and knows no door: no gRPC, HTTP, CRI or Docker type appears here.

pub mod config;
pub mod container;
pub mod content;
pub mod engine;
pub mod error;
pub mod event;
pub mod gc;
pub mod id;
pub mod image;
pub mod lease;
pub mod metadata;
pub mod names;
pub mod network;
pub mod sandbox;
pub mod snapshot;
pub mod spec;
pub mod volume;

pub use config::EngineConfig;
pub use engine::{ContainerHandle, CreatedContainer, Engine, EngineInfo, EventReceiver, ExecHandle, SandboxHandle};
pub use error::{Error, ErrorKind, Result};
