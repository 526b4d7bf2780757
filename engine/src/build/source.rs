//! Where files come from: a directory of the client, or the layers of a stage or an image. Both are read in the same way.

use std::path::Path;
use std::sync::Arc;

use sys::rooted::RootFd;

use crate::container::{image_mount, rootfs};
use crate::engine::Core;
use crate::error::{Error, Result};
use crate::id::Digest;
use crate::image::LayerRef;
use crate::snapshot::Mount;

use super::client::LocalSource;
use super::copier::{Copier, Ways};
use super::dockerfile::ignore::Patterns;
use super::layers::{chain, ids};
use super::state::clean;
use super::tree::Tree;

/// See the module.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) tree: Arc<Tree>,
    /// Tells the whole of it from any other without reading it; `None` for a client's directory.
    pub(super) whole: Option<Digest>,
    /// How to mount the whole of it.
    mounts: Vec<Mount>,
}

impl Source {
    /// A directory of the client.
    pub(super) fn local(source: Arc<LocalSource>, ignore: Option<Arc<Patterns>>) -> Result<Self> {
        let dir = source.dir().to_string_lossy().into_owned();
        let mounts = vec![Mount { kind: "bind".to_owned(), source: dir, options: Vec::new() }];
        Ok(Self { tree: Arc::new(Tree::local(source, ignore)?), whole: None, mounts })
    }

    /// The files of layers, which somebody else holds.
    pub(super) fn layers(core: &Core, layers: &[LayerRef]) -> Result<Self> {
        let mounts = core.images.overlay().stack(&ids(layers))?;
        let root = RootFd::from_fd(rootfs::open(&mounts)?);
        Ok(Self { tree: Arc::new(Tree::of_layers(root)), whole: Some(chain(layers)), mounts })
    }

    /// How to mount what is at `path`.
    pub(super) fn stack(&self, path: &str, target: &str) -> Result<Vec<Mount>> {
        let path = clean(path);
        let path = path.trim_start_matches('/');
        if path.is_empty() {
            return Ok(self.mounts.clone());
        }
        image_mount::below(&self.mounts, path, target)
    }

    /// The digest of what is at `path`.
    pub(super) async fn subtree_digest(self: &Arc<Self>, path: &str) -> Result<Digest> {
        if let (Some(whole), "/") = (self.whole, clean(path).as_str()) {
            return Ok(whole);
        }
        let (this, path) = (Arc::clone(self), path.to_owned());
        blocking(move || {
            let mut digests = String::new();
            for chosen in this.tree.choose(&path)? {
                digests.push_str(&this.tree.digest(&this.tree.entries(&chosen, None)?)?.to_string());
            }
            Ok(Digest::of(digests.as_bytes()))
        })
        .await
    }

    /// Copies what is in the directory `path` into one of the engine's own.
    pub(super) async fn copy_into(self: &Arc<Self>, path: &str, to: &Path) -> Result<()> {
        let (this, path, to) = (Arc::clone(self), path.to_owned(), to.to_owned());
        blocking(move || {
            let root = RootFd::open(&to)?;
            let mut copier = Copier::new(&root, Ways::default());
            for chosen in this.tree.choose(&path)?.iter().filter(|chosen| chosen.is_dir()) {
                copier.tree(&this.tree, &this.tree.entries(chosen, None)?, Path::new(""), true)?;
            }
            copier.end()
        })
        .await
    }
}

/// Work with files, on a thread that may wait for them.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::internal("read or write files of a build").with_source(e))?
}
