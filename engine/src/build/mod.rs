//! Building images: a Dockerfile and its context in, an image out.
//!
//! A door says what to build ([`BuildSpec`]), answers what the build asks of its client ([`BuildClient`]) and listens
//! ([`BuildEvent`]). Stages are walked along their dependencies; each step is looked up in the cache before it is done; a
//! step that changes files makes one layer, whose directory is the one that was written.

mod client;
pub mod dockerfile;
mod event;
pub(crate) mod sources;
mod spec;

pub use client::{AgentStream, BuildClient, LocalSource, Secret, SourceFilter};
pub use event::{BuildEvent, StepAt};
pub use sources::{SourceEntry, SourceKind, SourceUpdate};
pub use spec::{
    BuildSpec, Built, BuiltFiles, CacheRecordView, CacheUse, DockerfileSource, Entitlement, Export, NamedContext,
    PruneCache, PrunedCache,
};
