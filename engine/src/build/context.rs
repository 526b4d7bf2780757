//! Contexts that come as a whole: a tar, a repository, or one Dockerfile from a URL.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sys::rooted::RootFd;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::archive::extract::{ExtractOptions, extract};
use crate::archive::uncompressed;
use crate::content::make_private_dir;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::id::ContainerId;
use crate::snapshot::remove_tree;
use crate::snapshot::tar_stream::{TarStream, stream_error};

use super::client::LocalSource;
use super::remote::{self, clone_into, git_source, subdirectory};
use super::source::blocking;

/// Bytes of a Dockerfile that comes alone.
const DOCKERFILE_BYTES_MAX: u64 = 4 << 20;

/// The directory of a context, removed with what holds it.
#[derive(Debug)]
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let path = self.0.clone();
        let remove = move || {
            if let Err(error) = remove_tree(&path) {
                tracing::warn!(path = %path.display(), %error, "the context of a build could not be removed");
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

fn as_it_comes(response: reqwest::Response) -> impl AsyncRead + Send + Unpin + 'static {
    let pieces =
        futures_util::TryStreamExt::map_err(response.bytes_stream(), |e| std::io::Error::other(e.without_url()));
    StreamReader::new(Box::pin(pieces))
}

impl Engine {
    /// Opens an address: what is there, as it comes. Without a scheme it is `http://`.
    ///
    /// # Errors
    /// `InvalidArgument` for another scheme, or a status that is no success; `Unavailable` for a server that cannot be
    /// reached.
    pub async fn open_url(&self, url: &str) -> Result<impl AsyncRead + Send + Unpin + 'static> {
        let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Error::invalid(format!("{url:?}: only http and https are fetched")));
        }
        Ok(as_it_comes(remote::get(&url).await?))
    }

    fn context_place(&self) -> Result<Place> {
        let dir = self.config().root.join("build").join("contexts").join(ContainerId::random().short());
        make_private_dir(&dir)?;
        Ok(Place(dir))
    }

    /// Unpacks a context: a tar, plain or compressed with gzip, bzip2, xz or zstd.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no archive, or leads out of it; `ResourceExhausted` for one that is too large.
    pub async fn context_of_tar(&self, archive: impl AsyncRead + Send + Unpin + 'static) -> Result<Arc<LocalSource>> {
        let place = self.context_place()?;
        let (dir, bytes_max) = (place.0.clone(), self.images().settings().layer_unpacked_bytes_max);
        let archive = SyncIoBridge::new(archive);
        blocking(move || {
            let mut tar = TarStream::new(uncompressed(archive, bytes_max).map_err(stream_error)?);
            let options = ExtractOptions { no_overwrite_dir_non_dir: false, owner: Some((0, 0)) };
            extract(&mut tar, &RootFd::open(&dir)?, Path::new(""), options)
        })
        .await
        .map_err(|e| e.context("the context"))?;
        Ok(Arc::new(LocalSource::new(place.0.clone(), Some(Box::new(place)))))
    }

    /// Fetches a context: a repository is cloned, an archive unpacked; anything else is a Dockerfile, which becomes the
    /// only file, named `Dockerfile`.
    ///
    /// # Errors
    /// `InvalidArgument` for what is none of these; `Unavailable` for a server that cannot be reached.
    pub async fn context_of_url(&self, url: &str) -> Result<Arc<LocalSource>> {
        let place = self.context_place()?;
        if let Some(repository) = git_source(url) {
            clone_into(&repository, &place.0).await?;
            let dir = subdirectory(&place.0, &repository.subdir)?;
            return Ok(Arc::new(LocalSource::new(dir, Some(Box::new(place)))));
        }
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Error::invalid(format!("query remote: {url:?} is neither a URL nor a repository")));
        }
        let response = remote::get(url).await?;
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let is_text = kind.starts_with("text/plain");
        let body = as_it_comes(response);
        if !is_text {
            return self.context_of_tar(body).await;
        }
        let mut text = Vec::new();
        let failed = |e: std::io::Error| Error::new(ErrorKind::Unavailable, format!("fetch {url}")).with_source(e);
        body.take(DOCKERFILE_BYTES_MAX).read_to_end(&mut text).await.map_err(failed)?;
        tokio::fs::write(place.0.join("Dockerfile"), text).await?;
        Ok(Arc::new(LocalSource::new(place.0.clone(), Some(Box::new(place)))))
    }
}
