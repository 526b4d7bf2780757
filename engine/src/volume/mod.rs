//! Volumes: storage with a name that outlives containers.
//!
//! `binds.rs` is pure (the `-v` syntax), `store.rs` keeps the records and the directories, `local.rs` is the one driver
//! (what its options mean), `copy_up.rs` fills a new volume from an image's directory without ever following a path out
//! of either.
//!
//! Nothing is mounted here: a volume is a value that says how to mount it ([`VolumeMount`]).

pub mod binds;
mod copy_up;
mod local;
mod store;

pub use store::{VolumeMount, VolumeRecord, VolumeSpec, VolumeView, Volumes};
