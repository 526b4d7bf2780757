//! Volumes: storage with a name that outlives containers.
//!
//! `binds.rs` is pure (the `-v` syntax), `store.rs` keeps the records, `local.rs` is the one driver, `copy_up.rs`
//! fills a new volume from an image's directory without ever following a path out of either.

pub mod binds;
mod store;

pub use store::{VolumeMount, VolumeRecord, VolumeSpec, VolumeView, Volumes};
