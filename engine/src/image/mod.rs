//! Images: what is known, pulled, loaded, tagged and removed; the same set behind both doors.
//!
//! Reads ([`Images::list`], [`Images::get`]) come from an index in memory and never wait. Writes take one lock, store,
//! then publish. Bytes travel through `pull` (a registry), `archive` (a tar) or `layout` (a directory); all three end in
//! the same two steps: blobs in the content store, layers unpacked by the snapshotter.

mod archive;
mod compose;
mod config;
mod distribution;
mod flight;
mod history;
mod index;
mod layout;
mod manifest;
mod platform;
mod progress;
mod pull;
mod push;
pub mod reference;
pub mod registry;
mod remove;
mod save;
mod settings;
mod tag;
mod unpack;
mod view;

pub(crate) use crate::metadata::tables::image::LayerRef;
pub use archive::LoadedImage;
pub use compose::ImportRequest;
pub(crate) use compose::{ComposeRequest, Hashed};
pub use config::{Healthcheck, HistoryEntry, ImageConfig, ImageDocument};
pub use distribution::Distribution;
pub use history::HistoryItem;
pub use index::Images;
pub use platform::Platform;
pub use progress::{LayerProgress, LayerStatus, PullProgress, PullStatus};
pub use pull::PullRequest;
pub use push::{PushProgress, PushRequest, PushStatus};
pub use reference::Reference;
pub(crate) use registry::web_client;
pub use registry::{RegistryAuth, SearchResult};
pub use remove::{ImageUse, InUse, Removed};
pub use settings::ImageSettings;
pub use view::{FsUsage, ImageView, LayersCapacity, ManifestRef};
