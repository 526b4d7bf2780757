//! The core of Gantry: images, content, snapshots, sandboxes, containers, networks and volumes.
//!
//! It decides everything and knows no door: no gRPC, HTTP, CRI or Docker type appears here.

pub mod error;
pub mod id;
pub mod metadata;

pub use error::{Error, ErrorKind, Result};
