//! What the rest of the engine and the doors see of an image.

use std::path::PathBuf;

use crate::id::{Digest, ImageId, LayerId, Owner};

use super::config::{HistoryEntry, ImageConfig};
use super::reference::Reference;

/// One image as it is now; immutable, replaced as a whole when a name comes or goes.
#[derive(Debug, Clone)]
pub struct ImageView {
    /// The digest of its configuration.
    pub id: ImageId,
    /// Tags (`docker.io/library/busybox:latest`), in order.
    pub names: Vec<Reference>,
    /// Digest references (`docker.io/library/busybox@sha256:…`): what was pulled, by repository.
    pub digests: Vec<Reference>,
    /// What a container of it runs with by default.
    pub config: ImageConfig,
    /// How it was made, oldest first.
    pub history: Vec<HistoryEntry>,
    /// Its layers (by diff id), lowest first.
    pub layers: Vec<LayerId>,
    /// Bytes of its unpacked layers on disk, exact, each layer counted once.
    pub size: u64,
    /// Bytes of its manifest, configuration and compressed layers.
    pub content_size: u64,
    /// When it was made, as it says itself.
    pub created: Option<jiff::Timestamp>,
    /// When this engine first had it.
    pub added: jiff::Timestamp,
    /// GOARCH: `amd64`.
    pub architecture: String,
    /// GOOS: `linux`.
    pub os: String,
    /// `v8` and the like.
    pub variant: Option<String>,
    /// Free text of its maker.
    pub author: String,
    /// Free text of its maker.
    pub comment: String,
    /// Never removed by garbage collection of either door (embedded default image).
    pub pinned: bool,
    /// The doors that pulled, loaded or tagged it.
    pub owners: Vec<Owner>,
    /// The manifest that it came with, or that was made for it when loaded.
    pub manifest: ManifestRef,
    /// Doors that pulled it with credentials, while nobody got it without: others must show credentials of their own.
    /// See [`ImageView::usable_by`].
    pub pulled_with_auth: Vec<Owner>,
}

impl ImageView {
    /// Whether `owner` may use this image without proving credentials of its own.
    ///
    /// An image that was pulled with a secret by one door is not handed to the other door unseen: the caller must pull
    /// it (which asks the registry with its own credentials) before it may use it.
    pub fn usable_by(&self, owner: Owner) -> bool {
        self.pulled_with_auth.is_empty() || self.pulled_with_auth.contains(&owner)
    }
}

/// A manifest in the content store.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ManifestRef {
    /// Its media type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
}

/// Disk use of images and layers.
#[derive(Debug, Clone)]
pub struct FsUsage {
    /// Where layers are.
    pub snapshots_root: PathBuf,
    /// Where blobs are.
    pub content_root: PathBuf,
    /// Bytes of all unpacked layers and blobs.
    pub bytes: u64,
    /// Inodes of all unpacked layers and blobs.
    pub inodes: u64,
    /// When this was counted.
    pub at: jiff::Timestamp,
}

/// The file system that holds the layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayersCapacity {
    /// Its device: `/dev/sda1`, or the numbers of one without a name.
    pub device: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its inodes; 0 where it makes them as needed.
    pub inodes: u64,
    /// Of them free.
    pub inodes_free: u64,
}
