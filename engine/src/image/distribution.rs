//! What a registry says of an image, without pulling it.

use crate::error::Result;
use crate::id::Digest;

use super::config::ImageDocument;
use super::index::Images;
use super::manifest::{Manifest, OCI_INDEX, parse};
use super::platform::Platform;
use super::pull::small_blob;
use super::reference::Reference;
use super::registry::{RegistryAuth, Repository, SearchResult};

/// An image as its registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// Media type of what the reference stands for.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// The platforms that can be had: those of an index, or the one of the image.
    pub platforms: Vec<Platform>,
}

impl Images {
    /// Asks the registry what a reference stands for; fetches no layer and records nothing.
    ///
    /// # Errors
    /// `NotFound`, `Unauthorized`, `Unavailable` with the registry's host; `InvalidArgument` for what is no image.
    pub async fn distribution(&self, reference: &Reference, auth: Option<&RegistryAuth>) -> Result<Distribution> {
        let reference = reference.clone().or_latest();
        let repository = Repository::open(self.registry(), &reference, auth)?;
        let fetched = repository.manifest(&reference.target()).await?;
        let parsed = parse(&fetched.bytes, &fetched.content_type, self.settings().layers_max)
            .map_err(|e| e.context(&reference))?;
        let (media_type, platforms) = match parsed {
            Manifest::Index(entries) => {
                let stated = Some(fetched.content_type.clone()).filter(|kind| kind.ends_with("json"));
                let platforms = entries.iter().filter_map(|entry| Some(entry.platform.as_ref()?.stated())).collect();
                (stated.unwrap_or_else(|| OCI_INDEX.to_owned()), platforms)
            }
            Manifest::Image(manifest) => {
                let config = small_blob(&repository, manifest.config.digest, manifest.config.size).await?;
                let document = ImageDocument::parse(manifest.config.digest, &config)?;
                let platform = Platform::new(&document.os, &document.architecture, document.variant.as_deref());
                (manifest.media_type, vec![platform])
            }
        };
        Ok(Distribution { media_type, digest: fetched.digest, size: fetched.bytes.len() as u64, platforms })
    }

    /// Searches a registry for repositories: `term`, or `host/term` for another registry than Docker Hub.
    ///
    /// # Errors
    /// `InvalidArgument` for the term; `NotImplemented` for a registry without such a search; `Unavailable` when nobody
    /// answers; `Unauthorized`.
    pub async fn search(&self, term: &str, limit: usize, auth: Option<&RegistryAuth>) -> Result<Vec<SearchResult>> {
        self.registry().search(term, limit, auth).await
    }
}
