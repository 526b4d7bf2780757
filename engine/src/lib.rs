//! The core of Gantry: images, content, snapshots, sandboxes, containers, networks and volumes.
//!
//! It decides everything and knows no door: no gRPC, HTTP, CRI or Docker type appears here.

pub mod config;
pub mod container;
pub mod engine;
pub mod error;
pub mod event;
pub mod id;
pub mod metadata;
pub mod sandbox;
pub mod spec;
pub mod network;
pub mod volume;

pub use config::EngineConfig;
pub use engine::{ContainerHandle, CreatedContainer, Engine, EngineInfo, EventReceiver, ExecHandle, SandboxHandle};
pub use error::{Error, ErrorKind, Result};
