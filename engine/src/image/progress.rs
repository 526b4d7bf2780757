//! How a pull tells what it is doing.

use std::fmt;

use crate::id::{Digest, Owner};

/// One step of a pull, in the order in which a person should see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullProgress {
    /// The manifest is being read: docker prints `<tag>: Pulling from <repository>`.
    Pulling {
        /// The familiar repository name: `library/busybox`, `localhost:5000/x`.
        repository: String,
        /// The tag, or the digest when pulled by digest.
        tag: String,
    },
    /// A layer went on.
    Layer(LayerProgress),
    /// The digest that the reference stands for.
    Digest(Digest),
    /// The end: docker prints `Status: Downloaded newer image for X` or `Status: Image is up to date for X`.
    Finished {
        /// The familiar reference.
        reference: String,
        /// Whether the name stands for another image than before.
        newer: bool,
    },
}

/// Where one layer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerProgress {
    /// The digest of the compressed layer; its short form is what docker prints.
    pub digest: Digest,
    /// What is being done.
    pub status: LayerStatus,
    /// Bytes done, of the compressed layer.
    pub current: u64,
    /// Bytes of the compressed layer; 0 if unknown.
    pub total: u64,
}

/// The steps of a layer, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LayerStatus {
    /// Known from the manifest.
    PullingFsLayer,
    /// Waiting for a place among the parallel downloads.
    Waiting,
    /// Bytes arrive (and are unpacked as they come).
    Downloading,
    /// All bytes are here, their digest is compared.
    VerifyingChecksum,
    /// The blob is good.
    DownloadComplete,
    /// The rest of the layer is being written.
    Extracting,
    /// On disk and recorded.
    PullComplete,
    /// It was there before.
    AlreadyExists,
}

impl fmt::Display for LayerStatus {
    /// Docker's words for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PullingFsLayer => "Pulling fs layer",
            Self::Waiting => "Waiting",
            Self::Downloading => "Downloading",
            Self::VerifyingChecksum => "Verifying Checksum",
            Self::DownloadComplete => "Download complete",
            Self::Extracting => "Extracting",
            Self::PullComplete => "Pull complete",
            Self::AlreadyExists => "Already exists",
        })
    }
}

/// A pull that is under way, for status calls.
#[derive(Debug, Clone)]
pub struct PullStatus {
    /// The full reference.
    pub reference: String,
    /// Who asked.
    pub owner: Owner,
    /// Since when.
    pub started: jiff::Timestamp,
    /// Its layers, lowest first; empty while the manifest is being read.
    pub layers: Vec<LayerProgress>,
}
