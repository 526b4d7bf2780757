//! One file for each table: typed reads and writes, nothing else.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

pub mod address;
pub mod blob;
pub mod build_cache;
pub(crate) mod container;
pub mod endpoint;
pub mod event;
pub mod image;
pub mod ingest;
pub mod layer;
pub mod lease;
pub mod network;
pub(crate) mod sandbox;
pub mod setting;
pub mod snapshot;
pub mod volume;

/// A record as it is stored.
pub(crate) fn to_json(record: &impl Serialize) -> Result<String> {
    serde_json::to_string(record).map_err(|e| Error::internal("write a record").with_source(e))
}

/// A stored record of a `kind` of object, read back.
pub(crate) fn from_json<T: DeserializeOwned>(kind: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|e| Error::internal(format!("read a stored {kind}")).with_source(e))
}
