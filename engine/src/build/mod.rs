//! Building images: a Dockerfile and its context in, an image out.
//!
//! A door says what to build ([`BuildSpec`]), answers what the build asks of its client ([`BuildClient`]) and listens
//! ([`BuildEvent`]). Stages are walked along their dependencies; each step is looked up in the cache before it is done; a
//! step that changes files makes one layer, whose directory is the one that was written.
//!
//! Nothing of a build is recorded before its end, when all that it has made is synced and recorded at once. If the engine
//! ends before that, the next start clears everything away.

mod base;
mod cache;
mod cache_mounts;
mod changes;
mod chmod;
mod client;
mod context;
mod copier;
pub mod dockerfile;
mod event;
mod executor;
mod finish;
mod layers;
mod plan;
mod process;
mod prune;
mod remote;
mod run_mounts;
mod sandbox;
mod source;
pub(crate) mod sources;
mod spec;
mod state;
mod step;
mod step_copy;
mod step_run;
mod stubs;
mod teller;
mod tree;
mod wildcard;

pub(crate) use cache::BuildCache;
pub(crate) use changes::changed;
pub use client::{AgentStream, BuildClient, LocalSource, Secret, SourceFilter};
pub use event::{BuildEvent, StepAt};
pub(crate) use finish::Builder;
pub use finish::DockerfileText;
pub use remote::{GitSource, clone_into, git_source, subdirectory};
pub(crate) use sandbox::remove as remove_sandbox;
pub use sources::{SourceEntry, SourceKind, SourceUpdate};
pub use spec::{
    BuildSpec, Built, BuiltFiles, CacheRecordView, CacheUse, DockerfileSource, Entitlement, Export, NamedContext,
    PruneCache, PrunedCache,
};
