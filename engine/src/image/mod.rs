//! Images: what is known, pulled, loaded, tagged and removed; the same set behind both doors.
//!
//! Reads ([`Images::list`], [`Images::get`]) come from an index in memory and never wait. Writes take one lock, store,
//! then publish.

mod config;
mod history;
mod index;
mod platform;
mod progress;
pub mod reference;
pub mod registry;
mod settings;
mod view;

pub use config::{Healthcheck, HistoryEntry, ImageConfig, ImageDocument};
pub use history::HistoryItem;
pub use index::{ImageUse, Images, LoadedImage, PullRequest, Removed, SaveStream};
pub use platform::Platform;
pub use progress::{LayerProgress, LayerStatus, PullProgress, PullStatus};
pub use reference::Reference;
pub use registry::RegistryAuth;
pub use settings::ImageSettings;
pub use view::{FsUsage, ImageView, ManifestRef};
