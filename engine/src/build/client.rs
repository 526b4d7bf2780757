//! What a build can ask of whoever ordered it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::Result;
use crate::id::Digest;
use crate::image::RegistryAuth;

/// Which part of a client's directory is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceFilter {
    /// Lines of a `.dockerignore`: what matches is left out.
    pub exclude: Vec<String>,
    /// Only these paths (with wildcards) and what their symlinks lead to; empty = everything.
    pub follow_paths: Vec<String>,
}

/// A client's directory as it is here, read-only for the build. It may hold more than was wanted.
pub struct LocalSource {
    dir: PathBuf,
    digests: Mutex<std::collections::HashMap<PathBuf, (FileStamp, Digest)>>,
    _guard: Option<Box<dyn std::any::Any + Send + Sync>>,
}

/// What tells that a file is still the one that was hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileStamp {
    pub(crate) size: i64,
    pub(crate) inode: u64,
    pub(crate) changed: (i64, i64),
}

impl FileStamp {
    /// Of a file that was just looked at.
    #[expect(clippy::useless_conversion, reason = "the width of these fields depends on the architecture")]
    pub(crate) fn of(stat: &rustix::fs::Stat) -> Self {
        let changed = (i64::from(stat.st_ctime), stat.st_ctime_nsec.try_into().unwrap_or(0));
        Self { size: stat.st_size, inode: stat.st_ino, changed }
    }
}

impl fmt::Debug for LocalSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalSource").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl LocalSource {
    /// The directory `dir` of the engine's own. `guard` lives as long as this does: what removes the directory, or keeps
    /// others from changing it.
    pub fn new(dir: PathBuf, guard: Option<Box<dyn std::any::Any + Send + Sync>>) -> Self {
        Self { dir, digests: Mutex::default(), _guard: guard }
    }

    /// Where it is. What is in it came from a client: it is opened through [`sys::rooted::RootFd`] only.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The digest of a file's bytes, if it was hashed before and has not changed since.
    pub(crate) fn known_digest(&self, path: &Path, stamp: FileStamp) -> Option<Digest> {
        let digests = self.digests.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        digests.get(path).filter(|(known, _)| *known == stamp).map(|(_, digest)| *digest)
    }

    /// Keeps a digest for the next step that asks.
    pub(crate) fn note_digest(&self, path: &Path, stamp: FileStamp, digest: Digest) {
        let mut digests = self.digests.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        digests.insert(path.to_owned(), (stamp, digest));
    }
}

/// A secret's bytes. They print as nothing and are overwritten when dropped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        std::hint::black_box(&self.0);
    }
}

/// One connection to an SSH agent.
pub trait AgentStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> AgentStream for T {}

/// What a door can ask its client for.
#[async_trait]
pub trait BuildClient: Send + Sync + fmt::Debug {
    /// A directory of the client by its name: `context`, `dockerfile`, or one that a named context names.
    async fn source(&self, name: &str, wanted: &SourceFilter) -> Result<std::sync::Arc<LocalSource>>;
    /// A secret; `None` when the client has none of this id.
    async fn secret(&self, id: &str) -> Result<Option<Secret>>;
    /// A connection to the agent of this id (`default`).
    ///
    /// # Errors
    /// `NotFound` when the client forwards none.
    async fn ssh(&self, id: &str) -> Result<Box<dyn AgentStream>>;
    /// Credentials for a registry (`docker.io`, `localhost:5000`).
    async fn credentials(&self, registry: &str) -> Result<Option<RegistryAuth>>;
}
