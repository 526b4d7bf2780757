//! Wire types of the Docker Engine REST API, as version 1.51 has them. No logic beyond Go's way of reading JSON.
//!
//! Fields stand in moby's order, because people and golden files compare what `inspect` prints. Where moby prints
//! `null` for an unset list the field is an `Option`; where it leaves the field out, it is skipped when empty. Read
//! documents with [`from_slice`]: plain serde_json neither knows Go's case-blind keys nor its nulls.
//!
//! This crate must not know the engine, HTTP, or how anything is carried out.

pub mod archive;
pub mod build;
pub mod container;
pub mod error;
pub mod event;
pub mod exec;
mod go_json;
pub mod image;
pub mod network;
pub mod pod;
mod skip;
pub mod stats;
pub mod system;
pub mod volume;

pub use go_json::{DEPTH_MAX, Error as JsonError, from_slice, from_value};

/// An empty JSON object, the value of Go's `map[string]struct{}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Empty {}
