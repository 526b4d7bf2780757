//! [`Images`]: the set of images in memory, and the way in for everything that changes it.

use std::pin::Pin;
use std::sync::Arc;

use tokio::io::AsyncRead;
use tokio::sync::mpsc;

use crate::error::{Error, Result};
use crate::gc::Swept;
use crate::id::{ContainerId, ImageId, Owner};
use crate::metadata::Store;
use crate::snapshot::Snapshotter;

use super::history::HistoryItem;
use super::platform::Platform;
use super::progress::{PullProgress, PullStatus};
use super::reference::Reference;
use super::registry::RegistryAuth;
use super::settings::ImageSettings;
use super::view::{FsUsage, ImageView};

/// What to pull, and for whom.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// A reference with tag or digest (see [`Reference::or_latest`]).
    pub reference: Reference,
    /// Another platform than this machine's.
    pub platform: Option<Platform>,
    /// Credentials of the caller.
    pub auth: Option<RegistryAuth>,
    /// The door that asks.
    pub owner: Owner,
}

/// One image out of a loaded archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedImage {
    /// The image.
    pub id: ImageId,
    /// Its name in the archive; docker prints `Loaded image: x:y`, or `Loaded image ID: sha256:…` without one.
    pub reference: Option<Reference>,
}

/// A container that uses an image, as [`Images::remove`] asks about.
#[derive(Debug, Clone)]
pub struct ImageUse {
    /// The container.
    pub container: ContainerId,
    /// Whether it runs; a stopped one does not resist a forced removal.
    pub running: bool,
}

/// One thing that a removal did, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name went away: familiar reference.
    Untagged(String),
    /// An image or a layer went away.
    Deleted(ImageId),
}

/// The bytes of a saved archive. Dropping it stops the work behind it.
pub type SaveStream = Pin<Box<dyn AsyncRead + Send>>;

/// All images of this engine; cheap to clone.
#[derive(Clone, Debug)]
pub struct Images {
    _store: Store,
    settings: Arc<ImageSettings>,
    overlay: Arc<crate::snapshot::Overlay>,
}

impl Images {
    /// Reads what is stored, removes what was left half-made, and is ready.
    ///
    /// # Errors
    /// `Internal` when a root cannot be made or the database cannot be read.
    pub async fn open(store: Store, settings: ImageSettings) -> Result<Self> {
        let overlay = Arc::new(crate::snapshot::Overlay::new(settings.snapshots_root.clone()));
        Ok(Self { _store: store, settings: Arc::new(settings), overlay })
    }
    /// The snapshotter that holds the layers; containers prepare their writable layer there.
    pub fn snapshotter(&self) -> Arc<dyn Snapshotter> {
        self.overlay.clone()
    }
    /// Pulls an image. Progress goes to `progress` as far as the receiver keeps up; a dropped receiver stops nothing.
    pub async fn pull(&self, _request: PullRequest, _progress: mpsc::Sender<PullProgress>) -> Result<Arc<ImageView>> {
        Err(Error::not_implemented("pull is not built yet"))
    }
    /// The pulls under way now.
    pub fn pulls_in_progress(&self) -> Vec<PullStatus> {
        Vec::new()
    }
    /// All images, newest first. From memory.
    pub fn list(&self) -> Vec<Arc<ImageView>> {
        Vec::new()
    }
    /// By reference, id (with or without `sha256:`), unique prefix of an id, or digest reference. From memory.
    ///
    /// # Errors
    /// `NotFound` `No such image: X`; `InvalidArgument` when a prefix stands for several.
    pub fn get(&self, name_or_id: &str) -> Result<Arc<ImageView>> {
        Err(Error::not_found(format!("No such image: {name_or_id}")))
    }
    /// Names `source` also `target`; `target` is taken from the image that had it.
    pub async fn tag(&self, _source: &str, _target: &str, _owner: Owner) -> Result<()> {
        Err(Error::not_implemented("tag is not built yet"))
    }
    /// Removes a name, or an image with its last name, by docker's rules. `in_use` answers which containers use an image.
    pub async fn remove(
        &self,
        _name_or_id: &str,
        _force: bool,
        _in_use: &(dyn Fn(&ImageId) -> Vec<ImageUse> + Send + Sync),
    ) -> Result<Vec<Removed>> {
        Err(Error::not_implemented("remove is not built yet"))
    }
    /// The lines of `docker history`, newest first.
    pub fn history(&self, _name_or_id: &str) -> Result<Vec<HistoryItem>> {
        Err(Error::not_implemented("history is not built yet"))
    }
    /// Reads a docker archive or an OCI layout (plain, gzip or zstd tar).
    pub async fn load(
        &self,
        _archive: impl AsyncRead + Send + Unpin + 'static,
        _owner: Owner,
    ) -> Result<Vec<LoadedImage>> {
        Err(Error::not_implemented("load is not built yet"))
    }
    /// One archive of `names` that is a docker archive and an OCI layout at once.
    pub async fn save(&self, _names: &[String]) -> Result<SaveStream> {
        Err(Error::not_implemented("save is not built yet"))
    }
    /// Takes in an OCI layout directory (the embedded default image); its images are pinned.
    pub async fn import_layout(&self, _dir: &std::path::Path, _owner: Owner) -> Result<Vec<LoadedImage>> {
        Err(Error::not_implemented("import_layout is not built yet"))
    }
    /// Disk use, from the records.
    pub fn fs_usage(&self) -> FsUsage {
        FsUsage {
            snapshots_root: self.settings.snapshots_root.clone(),
            content_root: self.settings.content_root.clone(),
            bytes: 0,
            inodes: 0,
            at: jiff::Timestamp::now(),
        }
    }
    /// Removes every blob, layer and download that nothing needs.
    pub async fn sweep(&self) -> Result<Swept> {
        Err(Error::not_implemented("sweep is not built yet"))
    }
}
